"""Our error tree and its one error -> HTTP status table.

Every message quotes what was found and what is allowed, and is safe to show to a client.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import ClassVar


class ServiceError(Exception):
    """Base of every error that the service answers on purpose.

    `status` is the HTTP status of the answer, `title` a short constant name of the problem.
    """

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    title: ClassVar[str] = "Internal error"


class ImageError(ServiceError):
    """The body is not an image that can be read, or its pixels are out of bounds."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    title = "Unreadable image"


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


class ParameterError(ServiceError):
    """A parameter has a value that is not allowed, or does not go with another one."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    title = "Invalid parameter"


class NotFoundError(ServiceError):
    """The thing that the path names does not exist."""

    status = HTTPStatus.NOT_FOUND
    title = "Not found"


class BusyError(ServiceError):
    """The server has as much work of this kind as it takes; try again later."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    title = "Busy"


class StartupError(Exception):
    """The service cannot start; the message says what to change."""


class ManifestError(StartupError):
    """The manifest is missing or malformed, or a file does not match it."""


class DeviceError(StartupError):
    """The device that was asked for cannot be used."""
