"""Uvicorn's HTTP protocol with deadlines and bounds for what is no body, all of which it lacks.

Without them a client that sends nothing, half a head or an endless one holds a connection for ever, and one whose body
ends in endless trailers fills the memory. Bodies have their own deadline and bound, in `service.bodies`. Uvicorn also
loses the body of a request that asks for another protocol, and takes it for the next request; here it is read.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, ClassVar, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service import heads
from service.heads import MAX_HEAD_BYTES

# As much as the sizes, with what ends them, that clients put before pieces of a body.
_SIZE_BYTES = 16


def protocol_with(header_timeout_s: float) -> type[HttpToolsProtocol]:
    """The protocol, for `uvicorn.Config(http=...)`: a head must be complete so many seconds after its connection was
    made or its first byte came.
    """
    return type("Deadlined", (DeadlineProtocol,), {"header_timeout_s": header_timeout_s})


class DeadlineProtocol(HttpToolsProtocol):
    """Closes a connection on which neither a request is under way nor a complete head came in time, and one that brings
    too much that is neither a head nor a body.

    What still comes of a body that was answered early, or after a refusal, is thrown away for as long as a head may
    take: closed at once, the connection would be reset, and the client might never see its answer.
    """

    header_timeout_s: ClassVar[float] = 10
    _deadline: asyncio.TimerHandle | None = None
    # Of the head under way, or of the chunk sizes, extensions and trailers of the body under way.
    _overhead_bytes = 0
    _in_head = True
    _ended = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As uvicorn's; the clock starts."""
        super().connection_made(transport)
        self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn's; the clock stops."""
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """In the place of uvicorn's; the clock runs while no answer is due."""
        if self._ended:
            return
        self._overhead_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self._parse(memoryview(data))
        except HttpParserError as error:
            self.logger.warning("Invalid HTTP request received.")
            self._refuse(*heads.refusal(error, self.url))
            return
        if self.transport.is_closing():
            return
        if self._overhead_bytes > MAX_HEAD_BYTES:
            found = "came without a complete head" if self._in_head else "of a body are chunk sizes or trailers"
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"{self._overhead_bytes} bytes {found}; allowed: at most {MAX_HEAD_BYTES}",
            )
        elif self._deadline is None and (self._request is None or self._request.response_complete):
            self._start()

    def _parse(self, data: memoryview) -> None:
        """Read on in HTTP/1.1 after a head that asks for another protocol, at which a parser ends."""
        while data:
            try:
                self.parser.feed_data(data)
                return
            except HttpParserUpgrade as end:
                data = data[end.args[0] :]
                method, version = self.parser.get_method(), self.parser.get_http_version()
                self.parser = HttpRequestParser(self)
                # As uvicorn has it: what comes after a request that closes the connection is thrown away.
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                self.parser.feed_data(heads.without_upgrade(method, self.url, version, self.headers))

    def on_message_begin(self) -> None:
        """As uvicorn's."""
        self._in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """As uvicorn's, but for trailers, which it would add to the headers that were read and judged long before."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """As uvicorn's, unless the head comes again, without an upgrade; the clock stops."""
        heads.check(self.parser.get_method(), self.url, self.headers)
        if self.parser.should_upgrade():
            return
        self._in_head = False
        self._stop()
        super().on_headers_complete()
        self.cycle.transport = cast(asyncio.Transport, _Ending(self))

    def on_body(self, body: bytes) -> None:
        """As uvicorn's; a piece of a body pays for the size that stands before it."""
        self._overhead_bytes = max(0, self._overhead_bytes - len(body) - _SIZE_BYTES)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """As uvicorn's, unless it is only the head that ends, and comes again."""
        if self.parser.should_upgrade():
            return
        self._overhead_bytes = 0
        super().on_message_complete()

    @property
    def _request(self) -> RequestResponseCycle | None:
        # Uvicorn says that it is always there; before the first request it is None.
        return self.cycle

    def _start(self) -> None:
        self._deadline = self.loop.call_later(self.header_timeout_s, self._too_late)

    def _stop(self) -> None:
        self._overhead_bytes = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        if self._ended or self._overhead_bytes == 0 or self._request is not None:
            # Nothing was asked, or it was answered before all of it had come.
            self.transport.close()
            return
        self._refuse(
            HTTPStatus.REQUEST_TIMEOUT,
            f"the head was not complete after {self.header_timeout_s:g} s, which is all that is allowed",
        )

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        request = self._request
        if request is None or not request.more_body or not request.response_started:
            # Else this would be a second answer to one request, which a proxy may take for that to its next one.
            self.transport.write(heads.problem(status, detail))
        self.end()

    def end(self) -> None:
        """Close the connection; where more of a request may come, only after the client has seen the answer."""
        request = self._request
        answer_is_due = request is not None and not (request.more_body or request.response_complete)
        if answer_is_due or self.pipeline or self.transport.is_closing() or not self.transport.can_write_eof():
            self.transport.close()
            return
        self._ended = True
        if request is not None and not request.response_complete:
            request.disconnected = True
            request.message_event.set()
        self.transport.write_eof()
        if self._deadline is None:
            self._start()


class _Ending:
    """A connection as uvicorn sees it while it answers: it would close one that is not kept at once."""

    def __init__(self, protocol: DeadlineProtocol) -> None:
        self._protocol = protocol
        self._request = protocol.cycle

    def __getattr__(self, name: str) -> Any:
        return getattr(self._protocol.transport, name)

    def close(self) -> None:
        if self._request.more_body:
            self._protocol.end()
        else:
            self._protocol.transport.close()
