"""Gives every request an id, and every answer that id and headers that keep browsers from misusing it. Pure ASGI."""

from __future__ import annotations

import re
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID = "X-Request-ID"
# What a client may choose: long enough for a UUID or a trace id, and nothing that could forge a line of a log.
_SANE = re.compile(r"[A-Za-z0-9._-]{1,64}")
# For answers that say nothing else: they hold somebody's data, and are no page.
PROTECTION = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


class EnvelopeMiddleware:
    """Puts the id into `request.state.request_id`: the client's own where it is sane, else a fresh one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection; what is not HTTP passes untouched."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID, "")
        identity = given if _SANE.fullmatch(given) else fresh_id()
        scope.setdefault("state", {})["request_id"] = identity

        async def sign(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID] = identity
                for name, value in PROTECTION.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, sign)


def fresh_id() -> str:
    """An id that no other request has."""
    return secrets.token_hex(16)
