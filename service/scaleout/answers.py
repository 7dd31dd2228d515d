"""What Ray's own server says and obeys, in our terms: its errors as problems, one request id, no orders of clients.

Pure ASGI. Ray puts it around its server, outside of the application.
"""

from __future__ import annotations

from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import problems
from service.envelope import REQUEST_ID, EnvelopeMiddleware
from service.errors import BusyError, NotFoundError, ServiceError

# By which a client could lift a time limit of Ray's, or keep a request alive that nobody waits for.
_ORDERS = ("x-request-timeout-seconds", "x-request-disconnect-disabled", "serve_multiplexed_model_id", "x-session-id")
# Ray's own probes.
_PROBES = {"/-/healthz", "/-/routes"}
# Every answer of the application has it, none of Ray's.
_OURS = "X-Content-Type-Options"


def middlewares() -> list[Middleware]:
    """For RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH; the last one is the first that a request meets."""
    return [Middleware(RayAnswersMiddleware), Middleware(EnvelopeMiddleware)]


class RayAnswersMiddleware:
    """Stands between the envelope and Ray's server."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection; what is not HTTP, and Ray's probes, pass untouched."""
        if scope["type"] != "http" or scope["path"] in _PROBES:
            await self._app(scope, receive, send)
            return
        headers = MutableHeaders(scope=scope)
        headers[REQUEST_ID] = scope["state"]["request_id"]
        for name in _ORDERS:
            del headers[name]
        refused = False

        async def translate(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and _is_of_ray(message):
                refused = True
                await problems.answer(Request(scope), _said(message["status"]))(scope, receive, send)
            elif not refused:
                await send(message)

        await self._app(scope, receive, translate)


def _is_of_ray(message: Message) -> bool:
    return message["status"] >= HTTPStatus.BAD_REQUEST and _OURS not in Headers(raw=message["headers"])


def _said(status: int) -> ServiceError:
    """The error in our words; Ray's may tell of its insides."""
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return BusyError("the replicas have as many requests as they take, or there is none; try again later")
    if status == HTTPStatus.NOT_FOUND:
        return NotFoundError("there is nothing here; /docs lists what there is")
    return ServiceError("the server failed at this request; its log says why")
