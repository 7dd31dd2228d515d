"""Times every request and writes the durations into the latency book. Pure ASGI."""

from __future__ import annotations

from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.latency import LatencyBook, Stopwatch


class LatencyMiddleware:
    """Gives each request a stopwatch (`request.state.stopwatch`) and records it when the answer is sent.

    Only answers below 400 count: a refusal is quick and would flatter the percentiles.
    """

    def __init__(self, app: ASGIApp, book: LatencyBook) -> None:
        self._app = app
        self._book = book

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection; what is not HTTP passes untouched."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        stopwatch = Stopwatch()
        scope.setdefault("state", {})["stopwatch"] = stopwatch
        status = int(HTTPStatus.INTERNAL_SERVER_ERROR)

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        await self._app(scope, receive, watch)
        # The template of the path, not the path: endpoints must be few.
        template = getattr(scope.get("route"), "path", None)
        if template is not None and status < HTTPStatus.BAD_REQUEST:
            self._book.record(f"{scope['method']} {template}", stopwatch.read_ms())
