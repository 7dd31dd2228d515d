"""One tensor between the wire and NumPy. Pure; knows no HTTP and no models, only a tensor's contract."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.errors import TensorError, shortened, shortened_json
from service.manifest import TensorSpec
from service.oip.request import InputTensor

DATATYPE = "FP32"
TEXT = "BYTES"
_WIRE = np.dtype("<f4")
FloatArray = np.ndarray[Any, np.dtype[np.float32]]


def read(tensor: InputTensor, chunk: bytes | None, spec: TensorSpec, max_batch: int) -> FloatArray:
    """The values of an input, of the contract's shape and within its range, in a batch of 1 to max_batch.

    Raises:
        TensorError: datatype, shape, number of values or a value is not what the contract allows.
    """
    place = f"input {spec.name!r}"
    if tensor.datatype != DATATYPE:
        raise TensorError(f"{place} has datatype {shortened(tensor.datatype)}; allowed: {DATATYPE}")
    shape = _checked_shape(tensor.shape, spec, max_batch)
    # The shape is known to be small by now, so that this many values are too.
    values = _from_json(tensor.data or [], shape, place) if chunk is None else _from_bytes(chunk, shape, place)
    _check_values(values, spec, place)
    return values


def _checked_shape(shape: list[int], spec: TensorSpec, max_batch: int) -> tuple[int, ...]:
    fits = len(shape) == len(spec.shape) and all(
        1 <= found <= max_batch if size == "N" else found == size for found, size in zip(shape, spec.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join(str(size) for size in spec.shape)
        raise TensorError(
            f"input {spec.name!r} has shape {shortened(shape)}; allowed: [{wanted}] with N from 1 to {max_batch}"
        )
    return tuple(shape)


def _from_bytes(chunk: bytes, shape: tuple[int, ...], place: str) -> FloatArray:
    wanted = math.prod(shape) * _WIRE.itemsize
    if len(chunk) != wanted:
        raise TensorError(f"{place} has {len(chunk)} bytes; allowed: {wanted}, for {DATATYPE} of shape {list(shape)}")
    return np.frombuffer(chunk, _WIRE).astype(np.float32).reshape(shape)


def _from_json(data: list[Any], shape: tuple[int, ...], place: str) -> FloatArray:
    """Of a list that is flat, or nested as the shape is."""
    flat = _flat(data, shape, place) if data and isinstance(data[0], list) else data
    if len(flat) != math.prod(shape):
        raise TensorError(
            f"{place} has {len(flat)} values; allowed: {math.prod(shape)}, as shape {list(shape)} says, flat or nested"
        )
    for value in flat:
        if type(value) not in {int, float}:
            raise TensorError(
                f"{place} holds {shortened_json(value)}; allowed: numbers, flat or nested as the shape says"
            )
    try:
        # A value that is too large for float32 becomes infinite, and is refused as such.
        with np.errstate(over="ignore"):
            return np.array(flat, np.float64).astype(np.float32).reshape(shape)
    except OverflowError as error:
        raise TensorError(f"{place} holds a number that is too large for {DATATYPE}") from error


def _flat(data: list[Any], shape: tuple[int, ...], place: str) -> list[Any]:
    """The values of a nested list; level by level, so that no depth can exhaust the stack."""
    level: list[Any] = [data]
    for size in shape:
        for part in level:
            if not isinstance(part, list) or len(part) != size:
                found = f"a list of {len(part)}" if isinstance(part, list) else shortened_json(part)
                raise TensorError(f"{place} holds {found}; allowed: lists nested as shape {list(shape)} says")
        level = [item for part in level for item in part]
    return level


def _check_values(values: FloatArray, spec: TensorSpec, place: str) -> None:
    low = -math.inf if spec.minimum is None else spec.minimum
    high = math.inf if spec.maximum is None else spec.maximum
    allowed = np.isfinite(values) & (values >= low) & (values <= high)
    if not allowed.all():
        index = tuple(int(position) for position in np.argwhere(~allowed)[0])
        raise TensorError(
            f"{place} holds {float(values[index]):.9g} at {list(index)}; allowed: finite, from {low:g} to {high:g}"
        )


def classification(values: FloatArray, count: int, class_names: tuple[str, ...]) -> list[list[bytes]]:
    """Of each row of (N, 10), the `count` largest as Triton writes them: `value:index:label`, the largest first."""
    order = np.argsort(-values, axis=1, kind="stable")[:, :count]
    return [
        [f"{values[row, index]:f}:{index}:{class_names[index]}".encode() for index in indices]
        for row, indices in enumerate(order.tolist())
    ]


@dataclass(frozen=True)
class OutputTensor:
    """One output to send: float32 values, or rows of texts; behind the JSON where `binary`, else inside it."""

    name: str
    values: FloatArray | list[list[bytes]]
    binary: bool

    def described(self) -> tuple[dict[str, Any], bytes]:
        """What the JSON says of it, and the bytes that follow."""
        if isinstance(self.values, list):
            texts = [text for row in self.values for text in row]
            shape = [len(self.values), len(texts) // len(self.values)]
            entry = {"name": self.name, "datatype": TEXT, "shape": shape}
            packed = b"".join(struct.pack("<I", len(text)) + text for text in texts)
            return _placed(entry, [text.decode() for text in texts], packed, self.binary)
        entry = {"name": self.name, "datatype": DATATYPE, "shape": list(self.values.shape)}
        return _placed(entry, self.values.ravel().tolist(), self.values.astype(_WIRE).tobytes(), self.binary)


def _placed(entry: dict[str, Any], data: list[Any], packed: bytes, binary: bool) -> tuple[dict[str, Any], bytes]:
    if binary:
        return {**entry, "parameters": {"binary_data_size": len(packed)}}, packed
    return {**entry, "data": data}, b""


def write(heading: dict[str, Any], outputs: list[OutputTensor]) -> tuple[bytes, int | None]:
    """The body of an answer, and how much of it is JSON; None where all of it is."""
    parts = [output.described() for output in outputs]
    head = json.dumps({**heading, "outputs": [entry for entry, _ in parts]}).encode()
    body = head + b"".join(packed for _, packed in parts)
    return body, len(head) if any(output.binary for output in outputs) else None
