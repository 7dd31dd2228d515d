"""Over a raw socket: whoever sends nothing, half a head, an endless one or no HTTP loses the connection in time."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from service.deadlines import protocol_with
from service.envelope import PROTECTION
from service.heads import MAX_HEAD_BYTES

TIMEOUT_S = 0.8  # with less, a busy machine closes a connection before a test has sent anything
LATE_S = 10  # other work may hold the machine up
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST /reads HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


async def answers_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope, receive)
    if request.url.path == "/slow":
        await asyncio.sleep(3 * TIMEOUT_S)
    body = await request.body() if request.url.path == "/reads" else b""
    answer = "here" if "x-late" not in request.headers else "fooled"
    await PlainTextResponse(f"{answer} {body[:9].decode()}".strip())(scope, receive, send)


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    config = uvicorn.Config(
        answers_at_once, http=protocol_with(TIMEOUT_S), ws="none", lifespan="off", log_level="critical"
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield listening.getsockname()
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def connection(address: tuple[str, int]) -> Iterator[socket.socket]:
    with socket.create_connection(address, timeout=LATE_S) as connection:
        yield connection


def until_closed(connection: socket.socket) -> bytes:
    """All that still comes; fails where the connection stays open."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def assert_refused(received: bytes, status: int, fragment: str) -> None:
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"application/problem+json" in head
    assert all(f"{name}: {value}".encode() in head for name, value in PROTECTION.items())
    problem = json.loads(body)
    assert problem["status"] == status
    assert fragment in problem["error"]
    assert problem["request_id"].encode() in head


def test_who_sends_nothing_is_let_go(connection: socket.socket) -> None:
    started = time.monotonic()
    assert until_closed(connection) == b""
    assert time.monotonic() - started > 0.9 * TIMEOUT_S


def test_half_a_head_is_a_408(connection: socket.socket) -> None:
    connection.sendall(GET[:-4])
    assert_refused(until_closed(connection), 408, f"not complete after {TIMEOUT_S} s")


def test_a_head_that_drips_gains_no_time(connection: socket.socket) -> None:
    started = time.monotonic()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):  # noqa: PT012, it takes a while to break
        while time.monotonic() - started < LATE_S:
            connection.sendall(b"G" if time.monotonic() - started < 0.01 else b"E")
            time.sleep(0.05)
        until_closed(connection)
    assert time.monotonic() - started < LATE_S


def test_half_a_second_head_loses_a_connection_that_was_kept(connection: socket.socket) -> None:
    connection.sendall(GET)
    assert b"here" in connection.recv(65536)
    connection.sendall(GET[:9])
    assert until_closed(connection) == b""


def test_bytes_after_an_early_answer_do_not_keep_a_connection(connection: socket.socket) -> None:
    connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
    assert b"here" in connection.recv(65536)
    connection.sendall(b"x")
    assert until_closed(connection) == b""


def test_an_endless_head_is_a_431(connection: socket.socket) -> None:
    connection.sendall(b"GET / HTTP/1.1\r\nX: " + MAX_HEAD_BYTES * b"x")
    assert_refused(until_closed(connection), 431, f"allowed: at most {MAX_HEAD_BYTES}")


def test_a_large_head_is_a_431_also_where_it_comes_at_once(connection: socket.socket) -> None:
    connection.sendall(b"GET / HTTP/1.1\r\nX: " + MAX_HEAD_BYTES * b"x" + b"\r\n\r\n")
    assert_refused(until_closed(connection), 431, f"allowed: at most {MAX_HEAD_BYTES}")


def test_bytes_that_are_refused_get_one_answer(connection: socket.socket) -> None:
    connection.sendall(2 * MAX_HEAD_BYTES * b"\x16")
    assert_refused(until_closed(connection), 400, "Invalid method")


def test_what_is_no_http_is_a_400(connection: socket.socket) -> None:
    connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
    assert_refused(until_closed(connection), 400, "not HTTP/1.1")


@pytest.mark.parametrize("path", [b"/slow", b"/reads"])
def test_work_and_bodies_may_take_longer(connection: socket.socket, path: bytes) -> None:
    connection.sendall(b"POST " + path + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
    time.sleep(2 * TIMEOUT_S)
    connection.sendall(b"cd")
    assert b"here" in connection.recv(65536)


def test_a_kept_connection_serves_on(connection: socket.socket) -> None:
    for _ in range(3):
        connection.sendall(GET)
        assert b"200 OK" in connection.recv(65536)
        time.sleep(1.5 * TIMEOUT_S)


@pytest.mark.parametrize(
    "piece",
    [b"X-Late: a\r\n" * 1000, b"a" * 10_000],
    ids=["many trailers", "one trailer"],
)
def test_endless_trailers_are_cut_off(connection: socket.socket, piece: bytes) -> None:
    connection.sendall(CHUNKED + b"1\r\nx\r\n0\r\nX-Late: " + 100 * piece)
    assert_refused(until_closed(connection), 431, "are chunk sizes or trailers")


def test_an_endless_size_of_a_chunk_is_cut_off(connection: socket.socket) -> None:
    connection.sendall(CHUNKED + b"1;" + 1_000_000 * b"a")
    assert_refused(until_closed(connection), 431, "are chunk sizes or trailers")


def test_a_trailer_is_no_header(connection: socket.socket) -> None:
    connection.sendall(CHUNKED + b"1\r\nx\r\n")
    time.sleep(0.05)
    connection.sendall(b"0\r\nX-Late: a\r\n\r\n")
    assert b"here" in connection.recv(65536)


def test_a_body_may_come_in_the_smallest_of_chunks(connection: socket.socket) -> None:
    connection.sendall(CHUNKED)
    for _ in range(10):
        connection.sendall(b"1\r\nx\r\n" * (MAX_HEAD_BYTES // 10))
    connection.sendall(b"0\r\n\r\n" + GET)
    assert until_here_twice(connection)


def until_here_twice(connection: socket.socket) -> bool:
    received = b""
    while received.count(b"here") < 2 and (chunk := connection.recv(65536)):
        received += chunk
    return received.count(b"here") == received.count(b"HTTP/1.1 200") == 2


def test_who_sends_a_large_body_that_nobody_reads_sees_the_answer_and_may_ask_on(connection: socket.socket) -> None:
    size = 5_000_000
    connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + bytes(size) + GET)
    assert until_here_twice(connection)


def test_an_early_answer_is_seen_also_where_the_connection_is_not_kept(connection: socket.socket) -> None:
    size = 5_000_000
    head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size
    connection.sendall(head + bytes(size))
    assert until_closed(connection).endswith(b"here")


def test_a_refusal_in_a_body_ends_the_work_on_it(connection: socket.socket) -> None:
    connection.sendall(CHUNKED + b"no size of a chunk\r\n")
    assert_refused(until_closed(connection), 400, "not HTTP/1.1")


def test_what_follows_an_early_answer_gets_no_second_one(connection: socket.socket) -> None:
    connection.sendall(CHUNKED.replace(b"/reads", b"/"))
    assert connection.recv(65536).endswith(b"here")
    connection.sendall(b"no size of a chunk\r\n")
    assert until_closed(connection) == b""


UPGRADE = b"POST /reads HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
LAST_GET = GET[:-2] + b"Connection: close\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize("pause_s", [0, 0.1], ids=["at once", "later"])
@pytest.mark.parametrize(
    "framed",
    [
        b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n",
    ],
    ids=["length", "chunks"],
)
def test_who_asks_for_another_protocol_is_served_in_this_one(
    connection: socket.socket, framed: bytes, pause_s: float
) -> None:
    end = framed.index(b"\r\n\r\n") + 4
    connection.sendall(UPGRADE + framed[:end])
    time.sleep(pause_s)
    connection.sendall(framed[end:] + LAST_GET)
    received = until_closed(connection)
    assert received.count(b"HTTP/1.1 ") == received.count(b"HTTP/1.1 200") == 2
    assert b"here GET /smug" in received


def test_many_that_ask_for_another_protocol_in_one_go_are_answered_each(connection: socket.socket) -> None:
    count = 50
    connection.sendall(count * (UPGRADE + b"Content-Length: 2\r\n\r\nab") + LAST_GET)
    received = until_closed(connection)
    assert received.count(b"here ab") == count
    assert received.count(b"HTTP/1.1 200") == count + 1
