"""An inference request off the wire: a body into its JSON part and the bytes of its binary tensors.

Pure; knows no HTTP and no models. https://github.com/kserve/open-inference-protocol, and Triton's extension for binary
tensors: the JSON comes first, its length is told apart, and the tensors follow in the order of the inputs.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from service.errors import BodyTooLargeError, MediaTypeError, TensorError, shortened, shortened_json

# A full batch with noise has .7 MB as binary tensors and some 3 MB as JSON.
MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_TENSORS = 8
MAX_DIMENSIONS = 8
_EITHER_FORMAT = zlib.MAX_WBITS | 32  # gzip or zlib, whichever its first bytes are
_SHOWN_ERRORS = 3
_Model = TypeVar("_Model", bound=BaseModel)
Parameters = dict[str, Any]


class _Part(BaseModel):
    """Keys that the protocol does not know are passed over, as it wants; parameters are not, see `only`."""

    model_config = ConfigDict(strict=True, frozen=True)


class InputTensor(_Part):
    """One input; its values stand in `data`, or `binary_data_size` bytes of them follow the JSON."""

    name: str
    shape: Annotated[list[int], Field(max_length=MAX_DIMENSIONS)]
    datatype: str
    parameters: Parameters = Field(default_factory=dict)
    data: list[Any] | None = None


class OutputChoice(_Part):
    """One output that is asked for."""

    name: str
    parameters: Parameters = Field(default_factory=dict)


class InferRequest(_Part):
    """The JSON part of an inference request."""

    id: Annotated[str, Field(max_length=256)] | None = None
    inputs: Annotated[list[InputTensor], Field(min_length=1, max_length=MAX_TENSORS)]
    outputs: Annotated[list[OutputChoice], Field(max_length=MAX_TENSORS)] = Field(default_factory=list)
    parameters: Parameters = Field(default_factory=dict)


class IndexRequest(_Part):
    """The body of a repository index: all models, or the ready ones."""

    ready: bool = False


def inflate(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """The body as it was before its Content-Encoding; never holds more than max_bytes of it.

    Raises:
        MediaTypeError: the encoding is none of identity, gzip and deflate.
        BodyTooLargeError: there are more than max_bytes.
        TensorError: the bytes are not of that encoding, are cut off, or others follow them.
    """
    name = encoding.strip().lower()
    if name in {"", "identity"}:
        return body
    if name not in {"gzip", "deflate"}:
        raise MediaTypeError(
            f"the body has Content-Encoding {shortened(encoding)}; allowed: gzip, deflate (zlib's format), or none"
        )
    inflater = zlib.decompressobj(_EITHER_FORMAT)
    try:
        data = inflater.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise TensorError(f"the body is said to be {name}, but it cannot be read as such: {error}") from error
    if len(data) > max_bytes:
        raise BodyTooLargeError(f"the body has more than {max_bytes} bytes unpacked; allowed: at most {max_bytes}")
    if not inflater.eof or inflater.unused_data:
        found = f"is followed by {len(inflater.unused_data)} bytes" if inflater.eof else "is cut off"
        raise TensorError(f"the {name} body {found}; allowed: one complete stream")
    return data


def parse(body: bytes, header_length: str | None) -> tuple[InferRequest, list[bytes | None]]:
    """The JSON part, and for each input the bytes that follow for it; None for one with `data`.

    `header_length` is how many bytes of the body are JSON, as text; None: all of them.

    Raises:
        TensorError: the body is not such a request.
    """
    length = _json_length(body, header_length)
    request = read_json(body[:length], InferRequest)
    _refuse_twice("input", [tensor.name for tensor in request.inputs])
    _refuse_twice("output", [output.name for output in request.outputs])
    chunks: list[bytes | None] = []
    position = length
    for tensor in request.inputs:
        size = _binary_size(tensor)
        if size is None:
            chunks.append(None)
            continue
        if size > len(body) - position:
            raise TensorError(
                f"input {shortened(tensor.name)} has binary_data_size {size}, and {len(body) - position} bytes are "
                "left of the body"
            )
        chunks.append(body[position : position + size])
        position += size
    if position != len(body):
        raise TensorError(
            f"{len(body) - position} bytes follow the JSON and the binary tensors; allowed: none. Where the body "
            "holds tensors, Inference-Header-Content-Length tells the length of its JSON"
        )
    return request, chunks


def read_json(data: bytes, shape: type[_Model]) -> _Model:
    """The JSON document as that model.

    Raises:
        TensorError: it is not UTF-8, not JSON, too deep, names a key twice, or is of another shape.
    """
    try:
        # Not pydantic's own parser, which takes 100 times the text's size for lists of empty lists.
        return shape.model_validate(json.loads(data.decode(), object_pairs_hook=_each_key_once))
    except ValidationError as error:
        items = error.errors(include_url=False)[:_SHOWN_ERRORS]
        raise TensorError("; ".join(map(_sentence, items))) from error
    except RecursionError as error:
        raise TensorError(f"the JSON of {len(data)} bytes is nested too deeply to be read") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise TensorError(f"the first {len(data)} bytes of the body are not JSON in UTF-8: {error}") from error
    except ValueError as error:
        # The only other one that Python raises: it reads no longer numbers.
        most = sys.get_int_max_str_digits()
        raise TensorError(
            f"the JSON holds a whole number of more than {most} digits; allowed: at most these"
        ) from error


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises TensorError where a key is given twice: another reader of the same JSON may take the other value."""
    document = dict(pairs)
    if len(document) < len(pairs):
        _refuse_twice("key", [key for key, _ in pairs])
    return document


def only(parameters: Parameters, allowed: Iterable[str], place: str) -> None:
    """Raises TensorError where a parameter is none of the allowed ones."""
    allowed = list(allowed)
    for name in parameters:
        if name not in allowed:
            raise TensorError(f"{place} has a parameter {shortened(name)}; allowed: {', '.join(allowed) or 'none'}")


def truth(parameters: Parameters, name: str, default: bool, place: str) -> bool:
    """A parameter that is true or false. Raises TensorError where it is neither."""
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise TensorError(f"{place} has {name} {shortened_json(value)}; allowed: true or false")
    return value


def whole_number(parameters: Parameters, name: str, limits: tuple[int, int], place: str) -> int | None:
    """A parameter that is a whole number within limits; None where absent. Raises TensorError where it is not."""
    value = parameters.get(name)
    if name not in parameters:
        return None
    low, high = limits
    if type(value) is not int or not low <= value <= high:
        raise TensorError(f"{place} has {name} {shortened_json(value)}; allowed: a whole number from {low} to {high}")
    return value


def _json_length(body: bytes, header_length: str | None) -> int:
    if header_length is None:
        return len(body)
    readable = header_length.isascii() and header_length.isdecimal() and len(header_length) <= len(str(MAX_BODY_BYTES))
    if not readable or int(header_length) > len(body):
        raise TensorError(
            f"Inference-Header-Content-Length is {shortened(header_length)}; allowed: a whole number up to the "
            f"{len(body)} bytes of the body"
        )
    return int(header_length)


def _binary_size(tensor: InputTensor) -> int | None:
    place = f"input {shortened(tensor.name)}"
    only(tensor.parameters, ["binary_data_size"], place)
    size = whole_number(tensor.parameters, "binary_data_size", (0, MAX_BODY_BYTES), place)
    if (size is None) == (tensor.data is None):
        found = "neither" if size is None else "both"
        raise TensorError(f"{place} has {found} of data and the parameter binary_data_size; allowed: one of them")
    return size


def _refuse_twice(kind: str, names: list[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise TensorError(f"{kind} {shortened(name)} is given {count} times; allowed: once")


def _sentence(item: ErrorDetails) -> str:
    place = ".".join(map(str, item["loc"])) or "the JSON"
    if item["type"] == "missing":
        return f"{place} is missing"
    found = f"{place} is {shortened_json(item['input'])}"
    if item["type"] in {"model_type", "dict_type"}:
        return f"{found}; allowed: an object"
    return f"{found}: {item['msg']}"
