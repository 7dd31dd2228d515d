"""Heads of requests: which are refused, in what words, and how one that asks for another protocol is put in this one.

Knows neither connections nor bodies; `service.deadlines` has those.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from httptools import HttpParserCallbackError, HttpParserError

from service.envelope import PROTECTION, REQUEST_ID, fresh_id
from service.errors import shortened

MAX_HEAD_BYTES = 64 * 1024
Headers = Iterable[tuple[bytes, bytes]]
_ALLOWED = f"a known method, an ASCII target, headers of at most {MAX_HEAD_BYTES} bytes, and one size of the body"


class HeadError(Exception):
    """A head that could be read, but is refused."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def check(method: bytes, url: bytes, headers: Headers) -> None:
    """Refuse what is too large, or asks for a tunnel.

    Raises:
        HeadError: what was found, and what is allowed.
    """
    size = len(url) + sum(len(name) + len(value) + len(":\r\n") for name, value in headers)
    if size > MAX_HEAD_BYTES:
        raise HeadError(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"the target and the headers have {size} bytes; allowed: at most {MAX_HEAD_BYTES}",
        )
    if method == b"CONNECT":
        raise HeadError(HTTPStatus.BAD_REQUEST, "the method is CONNECT, and this is no proxy; allowed: other methods")


def without_upgrade(method: bytes, url: bytes, version: str, headers: Headers) -> bytes:
    """The head again, without the header Upgrade, which a server may ignore (RFC 9110, 7.8)."""
    kept = [name + b": " + value for name, value in headers if name.lower() != b"upgrade"]
    return b"\r\n".join([b"%s %s HTTP/%s" % (method, url, version.encode()), *kept, b"", b""])


def refusal(error: HttpParserError, url: bytes) -> tuple[HTTPStatus, str]:
    """The status and the words for bytes that the parser, or a callback of its, could not take."""
    if isinstance(error.__context__, HeadError):
        return error.__context__.status, str(error.__context__)
    if isinstance(error, HttpParserCallbackError):
        found = f"the target is {shortened(url.decode('latin-1'))}, in which no path can be read"
        return HTTPStatus.BAD_REQUEST, f"{found}; allowed: {_ALLOWED}"
    return HTTPStatus.BAD_REQUEST, f"this is not HTTP/1.1 ({error}); allowed: {_ALLOWED}"


def problem(status: HTTPStatus, detail: str) -> bytes:
    """A whole response, for where there is no application yet to answer."""
    identity = fresh_id()
    problem: dict[str, Any] = {
        "type": f"urn:problem-type:purifier:{status.phrase.lower().replace(' ', '-')}",
        "title": status.phrase,
        "status": status,
        "detail": detail,
        "instance": "",
        "error": detail,
        "request_id": identity,
    }
    body = json.dumps(problem)
    headers = {
        "Content-Type": "application/problem+json",
        "Content-Length": str(len(body)),
        REQUEST_ID: identity,
        "Connection": "close",
        **PROTECTION,
    }
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", body]).encode("ascii")
