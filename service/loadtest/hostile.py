"""Requests that are wrong on purpose, as bytes for a socket, each with the statuses that it may get."""

from __future__ import annotations

import asyncio
import io
import json
import struct
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import parse_headers
from urllib.parse import SplitResult

_DRIP_S = 0.5
_NO_ANSWER = 0


@dataclass(frozen=True)
class Hostile:
    """All that is sent, and the statuses that it may get; without any the client hangs up instead of waiting."""

    name: str
    statuses: frozenset[int]
    sent: bytes


def hostile_requests(model: str) -> list[Hostile]:
    """One of each kind; `model` is a model of the target's /v2 that takes images (N, 1, 28, 28)."""
    picture = _png(28, bytes(29 * 28))
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + picture
    multipart = "multipart/form-data; boundary=b"
    infer = f"/v2/models/{model}/infer"
    huge = {"name": "images", "datatype": "FP32", "shape": [2_000_000_000, 1, 28, 28], "data": [0.5]}
    return [
        _kind("a bomb", 422, _post(_png(60_000, b""))),
        _kind("a truncated picture", 422, _post(picture[: len(picture) // 2])),
        _kind("no picture", 422, _post(b"GIF89a" + bytes(40))),
        _kind("a web page", 415, _post(b"<html></html>", media_type="text/html")),
        _kind("nothing", 422, _post(b"")),
        _kind("half a form", 422, _post(form, media_type=multipart)),
        _kind("a form without a file", 422, _post(b"--b--\r\n", media_type=multipart)),
        _kind("too large a body", 413, _post(b"", length=10**12)),
        _kind("an unknown parameter", 422, _post(picture, "/classify?no-such=nan")),
        _kind("a parameter that is no UTF-8", 422, _post(picture, "/classify?defense=%ff%fe")),
        _kind("a gigantic shape", 400, _post(json.dumps({"inputs": [huge]}).encode(), infer)),
        _kind("a negative shape", 400, _post(json.dumps({"inputs": [{**huge, "shape": [-1]}]}).encode(), infer)),
        _kind("a tensor that is not there", 400, _post(b"{}", infer, more="Inference-Header-Content-Length: 99\r\n")),
        _kind("no such path", 404, _head("GET", "/no/such/path") + b"\r\n"),
        _kind("a wrong method", 405, _head("DELETE", "/classify") + b"\r\n"),
        _kind("no HTTP", 400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
        # The reset that follows the answer may overtake it.
        _kind("an endless head", (431, _NO_ANSWER), _head("GET", "/healthz") + b"X-Endless: " + b"x" * 100_000),
        _kind("half a head, then gone", (), _head("POST", "/classify")),
        _kind("half a body, then gone", (), _post(picture[:20], length=len(picture))),
        _kind("half a form, then gone", (), _post(form[:40], media_type=multipart, length=len(form))),
    ]


async def send(target: SplitResult, request: Hostile, patience_s: float) -> tuple[int, dict[str, str]]:
    """The status and headers that it gets; 0 where the connection ended without, or the client hung up as planned."""
    reader, writer = await _connected(target)
    try:
        writer.write(request.sent)
        await writer.drain()
        if not request.statuses:
            return _NO_ANSWER, {}
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), patience_s)
    except (OSError, EOFError, TimeoutError):
        return _NO_ANSWER, {}
    finally:
        writer.close()
    line, _, rest = head.partition(b"\r\n")
    return int(line.split()[1]), dict(parse_headers(io.BytesIO(rest)).items())


async def drip(target: SplitResult, patience_s: float) -> float:
    """A slow loris: a byte of a head now and then, until the target closes; the seconds that it was held."""
    began = time.perf_counter()
    reader, writer = await _connected(target)
    try:
        writer.write(_head("GET", "/healthz") + b"X-Slow: ")
        while time.perf_counter() - began < patience_s and not reader.at_eof():
            writer.write(b"x")
            await writer.drain()
            try:
                # The target may say 408 before it closes.
                await asyncio.wait_for(reader.read(4096), _DRIP_S)
            except TimeoutError:
                continue
    except ConnectionError:
        pass
    finally:
        writer.close()
    return time.perf_counter() - began


async def _connected(target: SplitResult) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    secure = target.scheme == "https"
    return await asyncio.open_connection(target.hostname, target.port or (443 if secure else 80), ssl=secure or None)


def _kind(name: str, statuses: int | tuple[int, ...], sent: bytes) -> Hostile:
    return Hostile(name, frozenset((statuses,) if isinstance(statuses, int) else statuses), sent)


def _head(method: str, path: str) -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode()


def _post(
    body: bytes, path: str = "/classify", *, media_type: str = "image/png", length: int | None = None, more: str = ""
) -> bytes:
    told = len(body) if length is None else length
    return _head("POST", path) + f"Content-Type: {media_type}\r\n{more}Content-Length: {told}\r\n\r\n".encode() + body


def _png(side: int, rows: bytes) -> bytes:
    """A grey PNG that says that it is so large; each row begins with a filter's byte."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    parts: Sequence[tuple[bytes, bytes]] = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    chunks = (struct.pack(">I", len(data)) + kind + data + _checksum(kind + data) for kind, data in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _checksum(data: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(data))
