"""Our error tree and its one error -> HTTP status table.

Every message quotes what was found and what is allowed, and is safe to show to a client.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import ClassVar

SHUTTING_DOWN = "the server is shutting down; send new requests elsewhere"
_QUOTED = 80


class ServiceError(Exception):
    """Base of every error that the service answers on purpose.

    `status` is the HTTP status of the answer, `title` a short constant name of the problem, `retry_after_s` the
    seconds after which the same request may well succeed (None: it never will).
    """

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    title: ClassVar[str] = "Internal error"
    retry_after_s: ClassVar[int | None] = None


class ImageError(ServiceError):
    """The body is not an image that can be read, or its pixels are out of bounds."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    title = "Unreadable image"


class FormError(ServiceError):
    """A multipart body is malformed, or does not hold exactly the one file that is asked for."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    title = "Unreadable form"


class MediaTypeError(ServiceError):
    """The body has a media type that is not accepted."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    title = "Unsupported media type"


class NotAcceptableError(ServiceError):
    """The Accept header names nothing that can be answered."""

    status = HTTPStatus.NOT_ACCEPTABLE
    title = "Not acceptable"


class BodyTooLargeError(ServiceError):
    """The body is larger than the limit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    title = "Body too large"


class SlowBodyError(ServiceError):
    """The body did not arrive in time."""

    status = HTTPStatus.REQUEST_TIMEOUT
    title = "Body too slow"


class UnauthorizedError(ServiceError):
    """There is no API key, or none that is known."""

    status = HTTPStatus.UNAUTHORIZED
    title = "Unauthorized"


class ForbiddenError(ServiceError):
    """The API key does not open routes of this group."""

    status = HTTPStatus.FORBIDDEN
    title = "Forbidden"


class SwitchedOffError(ServiceError):
    """The operator has not switched this route on."""

    status = HTTPStatus.FORBIDDEN
    title = "Switched off"


class PreflightError(ServiceError):
    """A web page of another origin may not ask this."""

    status = HTTPStatus.FORBIDDEN
    title = "Cross-origin request refused"


class RateLimitError(ServiceError):
    """The client asks more often than it may."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    title = "Too many requests"


class ParameterError(ServiceError):
    """A parameter has a value that is not allowed, or does not go with another one."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    title = "Invalid parameter"


class TensorError(ServiceError):
    """A request of the Open Inference Protocol breaks it, or a tensor is not what its model takes."""

    status = HTTPStatus.BAD_REQUEST
    title = "Invalid inference request"


class NotFoundError(ServiceError):
    """The thing that the path names does not exist."""

    status = HTTPStatus.NOT_FOUND
    title = "Not found"


class BusyError(ServiceError):
    """The server has as much work of this kind as it takes; try again later."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    title = "Busy"
    retry_after_s = 1


class TimeLimitError(ServiceError):
    """The work took longer than one request may."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    title = "Time limit"


class AbandonedError(ServiceError):
    """The client hung up, so that the work was stopped; nobody reads this answer."""

    status = HTTPStatus.BAD_REQUEST
    title = "Abandoned"


class NotReadyError(ServiceError):
    """The models are still being loaded, could not be loaded, or the server is shutting down."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    title = "Not ready"
    retry_after_s = 2


class RecordsError(ServiceError):
    """The file of recorded results is damaged."""

    title = "Unreadable results"


def extra_hint(name: str) -> str:
    """How to install one of this project's extras. By the project's name pip would look for it in an index."""
    return f"install the extra `{name}`: pip install '.[{name}]' in a checkout of this project"


def shortened(value: object) -> str:
    """`repr` of what a client sent, in at most 80 ASCII characters, so that a message may quote anything."""
    return _cut(ascii(value))


def shortened_json(value: object) -> str:
    """A value of a client's JSON as JSON, in at most 80 ASCII characters."""
    try:
        return _cut(json.dumps(value))
    except RecursionError:  # what could just be read may be too deep to be written
        return "nested too deeply to be shown"


def _cut(text: str) -> str:
    return text if len(text) <= _QUOTED else text[: _QUOTED - 3] + "..."


class StartupError(Exception):
    """The service cannot start; the message says what to change."""


class ManifestError(StartupError):
    """The manifest is missing or malformed, or a file does not match it."""


class SelfTestError(StartupError):
    """The loaded models do not answer the shipped samples as their recorded accuracy promises."""


class DeviceError(StartupError):
    """The device that was asked for cannot be used."""


class GraphError(ServiceError, StartupError):
    """A graph cannot be opened: the service does not start, or what asks for the graph later is refused."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    title = "Unusable graph"
    retry_after_s = 60  # somebody has to restore a file first
