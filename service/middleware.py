"""Times, counts and logs every request, and closes connections while the server drains. Pure ASGI."""

from __future__ import annotations

import logging
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.latency import TOTAL, Stopwatch
from service.state import ServiceState

ACCESS_LOGGER = "service.access"
_LOGGER = logging.getLogger(ACCESS_LOGGER)


class LatencyMiddleware:
    """Gives each request a stopwatch (`request.state.stopwatch`) and records it when the answer is sent, and a share of
    the bodies that may be held (`request.state.hold`), which ends then.

    Only durations of answers below 400 count: a refusal is quick and would flatter the percentiles. The log has the
    template of the path and never the query, in which a client may have put a secret.
    """

    def __init__(self, app: ASGIApp, service: ServiceState) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection; what is not HTTP passes untouched."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        stopwatch = Stopwatch()
        hold = self._service.bodies.of_a_request()
        scope.setdefault("state", {}).update(stopwatch=stopwatch, hold=hold)
        status = int(HTTPStatus.INTERNAL_SERVER_ERROR)

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._service.draining:
                    # Else a client would send its next request on a connection that is about to end.
                    message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        try:
            with self._service.metrics.in_flight.track_inprogress():
                await self._app(scope, receive, watch)
        finally:
            hold.release()
            self._record(scope, status, stopwatch.read_ms())

    def _record(self, scope: Scope, status: int, durations_ms: dict[str, float]) -> None:
        # The template of the path, not the path: endpoints must be few.
        template: str | None = getattr(scope.get("route"), "path", None)
        method, metrics = scope["method"], self._service.metrics
        metrics.answered(method, template, status)
        if template is not None and status < HTTPStatus.BAD_REQUEST:
            self._service.latency.record(f"{method} {template}", durations_ms)
            metrics.timed(f"{method} {template}", durations_ms)
        if self._service.settings.access_log:
            fields = {
                "method": method,
                "endpoint": template,
                "status": status,
                "duration_ms": round(durations_ms[TOTAL], 3),
                "request_id": scope["state"].get("request_id"),
            }
            _LOGGER.info(" ".join(f"{name}={value}" for name, value in fields.items()), extra={"fields": fields})
