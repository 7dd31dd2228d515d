"""A body is read in bounded time, and a client that hangs up is no failure of ours."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from starlette.requests import ClientDisconnect, Request

from service.bodies import read_body, read_image
from service.errors import BodyTooLargeError, SlowBodyError
from service.holds import Holds

Messages = list[dict[str, Any]]


def request(messages: Messages, headers: dict[str, str] | None = None) -> Request:
    """A request that receives these messages, and then nothing for ever."""

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        await anyio.sleep_forever()
        raise AssertionError

    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return Request({"type": "http", "method": "POST", "headers": raw}, receive)


def chunk(data: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


def read(
    messages: Messages,
    headers: dict[str, str] | None = None,
    reader: Callable[..., Awaitable[bytes]] = read_body,
    timeout_s: float = 5,
) -> bytes:
    async def run() -> bytes:
        hold = Holds(100).of_a_request()
        return await reader(request(messages, headers), hold, max_bytes=10, timeout_s=timeout_s)

    return anyio.run(run)


def test_chunks_are_joined_up_to_the_limit() -> None:
    assert read([chunk(b"12345"), chunk(b"67890", more=False)]) == b"1234567890"


def test_one_byte_more_is_refused_before_the_rest_arrives() -> None:
    rest = chunk(b"never read")
    messages = [chunk(b"12345"), chunk(b"678901"), rest]
    with pytest.raises(BodyTooLargeError, match="more than 10 bytes"):
        read(messages)
    assert messages == [rest]


def test_a_declared_length_is_refused_before_anything_arrives() -> None:
    messages = [chunk(b"1")]
    with pytest.raises(BodyTooLargeError, match="has 11 bytes; allowed: at most 10"):
        read(messages, {"content-length": "11"})
    assert len(messages) == 1


def test_a_false_length_does_not_help() -> None:
    with pytest.raises(BodyTooLargeError):
        read([chunk(b"12345678901", more=False)], {"content-length": "1"})


def test_a_body_that_does_not_end_is_given_up() -> None:
    with pytest.raises(SlowBodyError, match=r"3 bytes arrived in 0\.02 s"):
        read([chunk(b"123")], timeout_s=0.02)


def test_a_client_that_hangs_up_is_not_answered() -> None:
    with pytest.raises(ClientDisconnect):
        read([chunk(b"123"), {"type": "http.disconnect"}])


def test_a_raw_picture_is_the_body() -> None:
    assert read([chunk(b"123", more=False)], {"content-type": "IMAGE/PNG; a=b"}, read_image) == b"123"
