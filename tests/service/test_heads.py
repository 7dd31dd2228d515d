"""What a refused head is told: what was found, as far as the parser tells, and nothing of the code."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import httptools
import pytest

from service import heads

CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


class Reader:
    """Takes from the parser what uvicorn's protocol does."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.parser: Any = httptools.HttpRequestParser(self)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        heads.check(self.parser.get_method(), self.url, self.headers)
        assert httptools.parse_url(self.url).path.decode("ascii")


def refused(data: bytes) -> tuple[HTTPStatus, str]:
    reader = Reader()
    with pytest.raises(httptools.HttpParserError) as failure:
        reader.parser.feed_data(data)
    return heads.refusal(failure.value, reader.url)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"FOO /classify HTTP/1.1\r\n\r\n", "Invalid method"),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\n", "Duplicate Content-Length"),
        (CHUNKED + b"zz\r\n", "Invalid character in chunk size"),
        ("GET /?\u00e9 HTTP/1.1\r\n\r\n".encode(), "Invalid char in url query"),
        (b"GET / HTTP/9.9\r\n\r\n", "Invalid HTTP version"),
        (b"GET http://a HTTP/1.1\r\n\r\n", "the target is 'http://a'"),
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n", "the method is CONNECT"),
    ],
)
def test_a_400_says_what_was_found(data: bytes, found: str) -> None:
    status, detail = refused(data)
    assert status == HTTPStatus.BAD_REQUEST
    assert found in detail
    assert "; allowed: " in detail
    assert "callback" not in detail


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + heads.MAX_HEAD_BYTES * b"a" + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + heads.MAX_HEAD_BYTES // 4 * b"a:\r\n" + b"\r\n",
        b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: " + heads.MAX_HEAD_BYTES * b"a" + b"\r\n\r\n",
    ],
    ids=["target", "many headers", "upgrade"],
)
def test_what_is_too_large_is_a_431(data: bytes) -> None:
    status, detail = refused(data)
    assert status == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    assert f"bytes; allowed: at most {heads.MAX_HEAD_BYTES}" in detail


def test_a_head_comes_again_without_upgrade() -> None:
    again = heads.without_upgrade(
        b"POST", b"/a?b", "1.1", [(b"upgrade", b"h2c"), (b"x", b""), (b"content-length", b"2")]
    )
    assert again == b"POST /a?b HTTP/1.1\r\nx: \r\ncontent-length: 2\r\n\r\n"
