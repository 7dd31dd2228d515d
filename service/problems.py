"""Every error as problem+json (RFC 9457): an id, and the detail again under `error`, which other clients look for."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from service.envelope import PROTECTION, REQUEST_ID, fresh_id
from service.errors import ParameterError, ServiceError, shortened
from service.schemas.answers import Problem

MEDIA_TYPE = "application/problem+json"
_LOGGER = logging.getLogger(__name__)


def install(app: FastAPI) -> None:
    """Answer every error of the application as a problem."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(ClientDisconnect, _client_gone)
    app.add_exception_handler(Exception, _unexpected)


def _problem(request: Request, status: int, title: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    slug = title.lower().replace(" ", "-")
    problem = Problem(
        type=f"urn:problem-type:purifier:{slug}",
        title=title,
        status=status,
        detail=detail,
        instance=request.url.path,
        error=detail,
        request_id=getattr(request.state, "request_id", None) or fresh_id(),
    )
    # As ASCII, since a path may hold what UTF-8 cannot carry.
    return Response(json.dumps(problem.model_dump()), status, media_type=MEDIA_TYPE, headers=headers)


def answer(request: Request, error: ServiceError, headers: dict[str, str] | None = None) -> Response:
    """The problem that an error of ours is answered with, for those who stand before the routes."""
    waiting = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    return _problem(request, error.status, error.title, str(error), {**waiting, **(headers or {})})


async def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    return answer(request, error)


async def _validation_error(request: Request, error: Exception) -> Response:
    """Parameters that break the schema, quoted safely: FastAPI's own handler fails on what is not UTF-8."""
    assert isinstance(error, RequestValidationError)
    detail = "; ".join(_sentence(item) for item in error.errors())
    return _problem(request, ParameterError.status, ParameterError.title, detail)


def _sentence(item: dict[str, Any]) -> str:
    message = str(item["msg"])
    if item["type"] == "unknown_parameter":
        return message
    place, *names = (str(part) for part in item["loc"])
    name = ".".join(names) or "value"
    return f"{place} parameter {name} is {shortened(item['input'])}; {message[:1].lower()}{message[1:]}"


async def _http_exception(request: Request, error: Exception) -> Response:
    """What the framework raises by itself: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    found = f"{request.method} {shortened(request.url.path)}"
    headers = dict(error.headers or {})
    if headers.get("Allow") == "GET":
        # The routes of one path are two, and Starlette names the methods of the first alone.
        headers["Allow"] = "GET, HEAD"
    allowed = headers.get("Allow", "other methods")
    details = {
        HTTPStatus.NOT_FOUND: f"{found}: there is nothing here; /docs lists what there is",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{found} is not allowed; allowed here: {allowed}",
    }
    detail = details.get(status, str(error.detail))
    return _problem(request, status, status.phrase, detail, headers)


async def _client_gone(request: Request, error: Exception) -> Response:
    """Nobody reads this answer; without it a client that hangs up would be logged as our failure."""
    _LOGGER.debug("%s %s: the client hung up", request.method, request.url.path)
    return Response(status_code=HTTPStatus.BAD_REQUEST)


async def _unexpected(request: Request, error: Exception) -> Response:
    """A fault of ours. Says nothing of it; Starlette raises it again, so that the server logs the traceback.

    Starlette sends this answer past all middleware, hence the headers.
    """
    _LOGGER.error("request %s failed", request.state.request_id)
    return _problem(
        request,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "Internal error",
        "the server failed at this request; its log says why",
        {**PROTECTION, REQUEST_ID: request.state.request_id},
    )
