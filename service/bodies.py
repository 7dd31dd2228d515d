"""Reads the picture out of a request's body: raw or as a form, of bounded size, in bounded time."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from service.errors import BodyTooLargeError, FormError, ImageError, MediaTypeError, SlowBodyError, shortened
from service.holds import Hold

FIELD = "file"
RAW_TYPES = ("image/png", "image/jpeg", "application/octet-stream")
# Other names of JPEG, and what `curl --data-binary` says unless told otherwise: Pillow decides what the bytes are.
_ALSO_RAW = ("image/jpg", "image/pjpeg", "application/x-www-form-urlencoded")
FORM_TYPE = "multipart/form-data"
_MAX_PARTS = 8
_MAX_TEXT_BYTES = 1024


async def read_image(request: Request, hold: Hold, *, max_bytes: int, timeout_s: float) -> bytes:
    """The bytes of the picture; at least one. They count in `hold`, as they arrive.

    Raises:
        BodyTooLargeError: the body has more than max_bytes, whatever its headers say.
        BusyError: all bodies together are more than is held at once.
        SlowBodyError: it is not complete after timeout_s.
        MediaTypeError: it is neither a picture, raw bytes, nor a form.
        FormError: the form does not hold one file under `file`.
        ImageError: the body is empty.
    """
    data = await read_body(request, hold, max_bytes=max_bytes, timeout_s=timeout_s)
    return await extract_image(request.headers, data)


async def read_body(request: Request, hold: Hold, *, max_bytes: int, timeout_s: float) -> bytes:
    """The whole body, possibly empty. Raises BodyTooLargeError, BusyError and SlowBodyError as `read_image` does."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large(f"has {int(declared)} bytes", max_bytes)
    data = bytearray()
    try:
        with anyio.fail_after(timeout_s):
            async for chunk in request.stream():
                hold.grow(len(chunk))
                data += chunk
                if len(data) > max_bytes:
                    raise _too_large(f"has more than {max_bytes} bytes", max_bytes)
    except TimeoutError as error:
        raise SlowBodyError(f"{len(data)} bytes arrived in {timeout_s:g} s, and the body was not complete") from error
    return bytes(data)


async def refuse_body(request: Request, *, timeout_s: float) -> None:
    """Raises MediaTypeError at the first byte of a body, and SlowBodyError as `read_image` does."""
    try:
        with anyio.fail_after(timeout_s):
            async for chunk in request.stream():
                if chunk:
                    found = shortened(request.headers.get("content-type", "no type"))
                    raise MediaTypeError(
                        f"there is a body, of Content-Type {found}; allowed: none, parameters go into the query"
                    )
    except TimeoutError as error:
        raise SlowBodyError(f"the request was not complete after {timeout_s:g} s") from error


async def extract_image(headers: Headers, data: bytes) -> bytes:
    """The picture in a body that is read already. Raises what `read_image` raises of types and contents."""
    encoding = headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise MediaTypeError(f"the body has Content-Encoding {shortened(encoding)}; allowed: none")
    content_type = headers.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == FORM_TYPE:
        return await _file_of_form(content_type, data)
    if media_type and media_type not in RAW_TYPES + _ALSO_RAW:
        raise MediaTypeError(
            f"the body has Content-Type {shortened(media_type)}; allowed: {', '.join(RAW_TYPES)}, "
            f"or {FORM_TYPE} with the field '{FIELD}'"
        )
    if not data:
        raise ImageError("the body is empty; send a PNG or JPEG")
    return data


async def _file_of_form(content_type: str, data: bytes) -> bytes:
    # The parser below takes a form that is cut off for a shorter one.
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if boundary is not None and data and b"--" + boundary + b"--" not in data:
        raise FormError("the form is cut off, or ends with another boundary than its Content-Type says")

    async def stream() -> AsyncGenerator[bytes, None]:
        yield data

    parser = MultiPartParser(
        Headers({"content-type": content_type}),
        stream(),
        max_files=_MAX_PARTS,
        max_fields=_MAX_PARTS,
        max_part_size=_MAX_TEXT_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise FormError(f"the form cannot be read: {error.message}") from error
    except (ValueError, LookupError) as error:
        # Codecs raise these by themselves, `punycode` and `undefined` say, and Starlette lets them pass.
        raise FormError(
            f"the form cannot be read: its names do not fit the charset of {shortened(content_type)}; allowed: UTF-8"
        ) from error
    try:
        return await _only_file(form.multi_items())
    finally:
        await form.close()


async def _only_file(items: list[tuple[str, UploadFile | str]]) -> bytes:
    wanted = f"allowed: one file in the field '{FIELD}', and parameters in the query"
    names = [name for name, _ in items]
    if names != [FIELD]:
        found = ", ".join(shortened(name) for name in names) or "no complete field"
        raise FormError(f"the form holds {found}; {wanted}")
    _, value = items[0]
    if isinstance(value, str):
        raise FormError(f"the form's field '{FIELD}' holds text, without a filename; {wanted}")
    content = await value.read()
    if not content:
        raise FormError(f"the form's file has 0 bytes; {wanted}")
    return content


def _too_large(found: str, max_bytes: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"the body {found}; allowed: at most {max_bytes} bytes")
