"""CORS for the origins that are named. A refused preflight is a problem, where Starlette answers in plain text."""

from __future__ import annotations

from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service import problems
from service.envelope import REQUEST_ID
from service.errors import PreflightError, shortened
from service.routes import attack, oip, purify, samples

_METHODS = ("GET", "POST")
_ASKED_METHOD, _ASKED_HEADERS = "access-control-request-method", "access-control-request-headers"
_REQUEST_HEADERS = ("Authorization", "Content-Type", "Content-Encoding", "X-API-Key", REQUEST_ID, oip.HEADER_LENGTH)
_ANSWER_HEADERS = (
    *(REQUEST_ID, "Retry-After", "RateLimit", "RateLimit-Policy", oip.HEADER_LENGTH),
    *(*attack.HEADERS, *purify.HEADERS, *samples.HEADERS),
)


class CrossOriginMiddleware(CORSMiddleware):
    """Lets web pages of these origins, or of all where one is `*`, ask and read; never with cookies."""

    def __init__(self, app: ASGIApp, origins: tuple[str, ...]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=_METHODS,
            allow_headers=_REQUEST_HEADERS,
            expose_headers=_ANSWER_HEADERS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection; what has no `Origin` passes untouched."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        if "origin" not in headers or scope["method"] != "OPTIONS" or _ASKED_METHOD not in headers:
            await super().__call__(scope, receive, send)
            return
        response = self.preflight_response(request_headers=headers)
        if response.status_code != HTTPStatus.OK:
            kept = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
            response = problems.answer(Request(scope), PreflightError(_refusal(headers)), kept)
        await response(scope, receive, send)


def _refusal(headers: Headers) -> str:
    asked = (f"{name} {shortened(headers.get(name, ''))}" for name in ("origin", _ASKED_METHOD, _ASKED_HEADERS))
    return (
        f"the preflight has {', '.join(asked)}; allowed: an origin of PURIFIER_CORS_ORIGINS, "
        f"{' or '.join(_METHODS)}, and of headers {', '.join(_REQUEST_HEADERS)}"
    )
