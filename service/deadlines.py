"""Uvicorn's HTTP protocol with a deadline and a bound for what comes before a body, both of which it lacks.

Without them a client that sends nothing, half a head or an endless one holds a connection for ever. Bodies have their
own deadline and bound, in `service.bodies`.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.envelope import REQUEST_ID, fresh_id

MAX_HEAD_BYTES = 64 * 1024


def protocol_with(header_timeout_s: float) -> type[HttpToolsProtocol]:
    """The protocol, for `uvicorn.Config(http=...)`: a head must be complete so many seconds after its connection was
    made or its first byte came.
    """
    return type("Deadlined", (DeadlineProtocol,), {"header_timeout_s": header_timeout_s})


class DeadlineProtocol(HttpToolsProtocol):
    """Closes a connection on which neither a request is under way nor a complete head came in time."""

    header_timeout_s: ClassVar[float] = 10
    _deadline: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As uvicorn's; the clock starts."""
        super().connection_made(transport)
        self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn's; the clock stops."""
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """As uvicorn's; the clock runs while there is no request, which also meets bytes after an early refusal."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        # Uvicorn says that it is always there; before the first request it is None.
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            return
        if self._deadline is None:
            self._start()
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"{self._head_bytes} bytes came without a complete head; allowed: at most {MAX_HEAD_BYTES}",
            )

    def on_headers_complete(self) -> None:
        """As uvicorn's; the clock stops."""
        self._stop()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """As uvicorn's, but a problem."""
        self._refuse(
            HTTPStatus.BAD_REQUEST, "this is not HTTP/1.1; allowed: a request with a method, a path and headers"
        )

    def _start(self) -> None:
        self._deadline = self.loop.call_later(self.header_timeout_s, self._too_late)

    def _stop(self) -> None:
        self._head_bytes = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        if self._head_bytes == 0 or self.cycle is not None:
            # Nothing was asked, or it was answered before all of it had come.
            self.transport.close()
            return
        self._refuse(
            HTTPStatus.REQUEST_TIMEOUT,
            f"the head was not complete after {self.header_timeout_s:g} s, which is all that is allowed",
        )

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
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
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/problem+json\r\n"
            f"Content-Length: {len(body)}\r\n{REQUEST_ID}: {identity}\r\nX-Content-Type-Options: nosniff\r\n"
            "Connection: close\r\n\r\n"
        )
        self.transport.write((head + body).encode("ascii"))
        self.transport.close()
