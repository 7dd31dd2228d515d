"""Stands before the routes: lets a request pass by its API key, its client's rate, and what is switched on. Pure ASGI.

Nothing of a body has been read when it refuses.
"""

from __future__ import annotations

import ipaddress

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import problems
from service.access import Group, Key, KeyRing, group_of
from service.errors import ForbiddenError, RateLimitError, ServiceError, SwitchedOffError, UnauthorizedError
from service.rates import WINDOW_S, RateLimits, Standing
from service.settings import Settings

_IPV6_SITE_BITS = 64


class GateMiddleware:
    """Refuses with 401, 403 or 429; adds RateLimit headers to what it lets pass where there is a limit."""

    def __init__(self, app: ASGIApp, settings: Settings, keys: KeyRing) -> None:
        self._app = app
        self._keys = keys
        self._rates = RateLimits(settings.requests_per_minute) if settings.requests_per_minute else None
        self._off = settings.switched_off

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection; what is not HTTP, and open paths, pass untouched."""
        group = group_of(scope["path"]) if scope["type"] == "http" else None
        if group is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        key = self._keys.find(_presented(request)) if self._keys else None
        standing = self._rates.take(_client(request, key)) if self._rates else None
        error = _too_often(standing) or self._refusal(scope["path"], group, key)
        headers = self._rate_headers(standing)
        if error is None:
            await self._app(scope, receive, _adding(headers, send))
            return
        if standing is not None and not standing.allowed:
            headers["Retry-After"] = str(standing.reset_s)
        if isinstance(error, UnauthorizedError):
            headers["WWW-Authenticate"] = 'Bearer realm="purifier"'
        await problems.answer(request, error, headers)(scope, receive, send)

    def _refusal(self, path: str, group: Group, key: Key | None) -> ServiceError | None:
        if self._keys and key is None:
            return UnauthorizedError(
                "there is no API key that is known here; allowed: one in the header 'Authorization: Bearer KEY' "
                "or 'X-API-Key: KEY'"
            )
        if key is not None and group not in key.groups:
            return ForbiddenError(
                f"{path} is of the group '{group}', and the key of {key.name} opens {', '.join(sorted(key.groups))}"
            )
        if setting := self._off.get(path.rstrip("/")):
            return SwitchedOffError(f"{path} is switched off here; PURIFIER_{setting.upper()}=true switches it on")
        return None

    def _rate_headers(self, standing: Standing | None) -> dict[str, str]:
        """As draft-ietf-httpapi-ratelimit-headers-10 has them."""
        if self._rates is None or standing is None:
            return {}
        return {
            "RateLimit-Policy": f'"default";q={self._rates.per_minute};w={WINDOW_S}',
            "RateLimit": f'"default";r={standing.remaining};t={standing.reset_s}',
        }


def _too_often(standing: Standing | None) -> ServiceError | None:
    if standing is None or standing.allowed:
        return None
    return RateLimitError(f"this client asks more often than it may; allowed: the next request in {standing.reset_s} s")


def _presented(request: Request) -> str:
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")


def _client(request: Request, key: Key | None) -> str:
    """Whom a request counts for: its key's name, else its address, of IPv6 the site's."""
    if key is not None:
        return f"key {key.name}"
    host = request.client.host if request.client else "unknown"
    if ":" not in host:
        return host
    try:
        return str(ipaddress.ip_network((host, _IPV6_SITE_BITS), strict=False))
    except ValueError:
        return host


def _adding(headers: dict[str, str], send: Send) -> Send:
    async def add(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return add if headers else send
