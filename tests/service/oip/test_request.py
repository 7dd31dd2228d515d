"""Any bytes are either a request or one of our errors, and no body takes much memory."""

from __future__ import annotations

import json
import tracemalloc
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import BodyTooLargeError, MediaTypeError, ServiceError, TensorError
from service.manifest import TensorSpec
from service.oip import tensors
from service.oip.request import MAX_BODY_BYTES, InferRequest, inflate, parse, read_json
from tests.service.oip.wire import HEADER, as_binary, digits

SPEC = TensorSpec(name="images", shape=("N", 1, 28, 28), minimum=0, maximum=1)
SMALL = TensorSpec(name="small", shape=("N", 2), minimum=0, maximum=1)
# An eighth of the largest body, since tracing is slow; what it takes grows with the body.
SIZE = MAX_BODY_BYTES // 8
SOME_MEMORY = 40 * SIZE
unhurried = settings(deadline=None, max_examples=60)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
SIZES = st.integers(-2, 20) | st.integers()
TENSOR = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["small", "x"]),
        "shape": st.just([2, 2]) | st.lists(SIZES, max_size=9) | ANYTHING,
        "datatype": st.sampled_from(["FP32", "FP32", "INT8"]) | ANYTHING,
    },
    optional={
        "data": st.lists(st.floats(0, 1), min_size=4, max_size=4) | ANYTHING,
        "parameters": st.fixed_dictionaries({"binary_data_size": st.just(16) | SIZES | ANYTHING}),
    },
)
REQUEST = st.fixed_dictionaries({"inputs": st.lists(TENSOR, min_size=1, max_size=2)})


def read(body: bytes, header_length: str | None, spec: TensorSpec) -> list[Any]:
    """What the service makes of a body, up to the session: arrays, or one of our errors."""
    request, chunks = parse(body, header_length)
    return [tensors.read(tensor, chunk, spec, 32) for tensor, chunk in zip(request.inputs, chunks, strict=True)]


def assert_arrays_or_our_error(body: bytes, header_length: str | None) -> None:
    with suppress(TensorError):
        for array in read(body, header_length, SMALL):
            assert array.dtype == np.float32
            assert array.shape[1:] == (2,)
            assert 1 <= len(array) <= 32
            assert ((array >= 0) & (array <= 1)).all()


@unhurried
@given(st.binary(max_size=200), st.none() | st.text(max_size=6) | st.integers(-1, 200).map(str))
def test_any_bytes_end_in_arrays_or_in_our_error(body: bytes, header_length: str | None) -> None:
    assert_arrays_or_our_error(body, header_length)


@unhurried
@given(REQUEST | ANYTHING, st.binary(max_size=40), st.booleans())
def test_any_document_ends_in_arrays_or_in_our_error(document: Any, packed: bytes, told: bool) -> None:
    head = json.dumps(document).encode()
    assert_arrays_or_our_error(head + packed, str(len(head)) if told else None)


@unhurried
@given(st.data())
def test_any_one_change_of_a_good_request_ends_in_arrays_or_in_our_error(data: st.DataObject) -> None:
    body, headers = as_binary(digits(3))
    position = data.draw(st.integers(0, len(body) - 1))
    hit = body[:position] + bytes([data.draw(st.integers(0, 255))]) + body[position + 1 :]
    with suppress(TensorError):
        for array in read(hit, headers[HEADER], SPEC):
            assert array.dtype == np.float32
            assert ((array >= 0) & (array <= 1)).all()


LENGTHS = st.sampled_from([0, 1, 15, 16, 17, 2**31, 2**63, -1]) | st.integers()
PIECES = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["small", "x", ""]),
        "shape": st.sampled_from([[2, 2], [1, 2], [2**32, 2**32], [-1, 2], [0, 2], [], [2, 2, 1]]),
        "datatype": st.sampled_from(["FP32", "FP32", "FP16", "FP64", "BYTES", "BOOL", ""]),
        "parameters": st.fixed_dictionaries({"binary_data_size": LENGTHS}),
    }
)


@unhurried
@given(st.lists(PIECES, min_size=1, max_size=3), st.binary(max_size=50), st.integers(-40, 40) | LENGTHS)
def test_any_lengths_of_binary_tensors_end_in_arrays_or_in_our_error(
    pieces: list[dict[str, Any]], packed: bytes, off: int
) -> None:
    head = json.dumps({"inputs": pieces}).encode()
    assert_arrays_or_our_error(head + packed, str(len(head)))
    assert_arrays_or_our_error(head + packed, str(len(head) + off))


@unhurried
@given(st.lists(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=2), min_size=1, max_size=32))
def test_what_is_sent_is_what_arrives(rows: list[list[float]]) -> None:
    sent = np.array(rows, np.float32)
    tensor = {"name": "small", "shape": list(sent.shape), "datatype": "FP32"}
    in_json = json.dumps({"inputs": [{**tensor, "data": rows}]}).encode()
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": sent.nbytes}}]}).encode()
    for body, length in ((in_json, None), (head + sent.tobytes(), str(len(head)))):
        (arrived,) = read(body, length, SMALL)
        assert arrived.tobytes() == sent.tobytes()


@unhurried
@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate", "identity", "br", "\u00ff"]))
def test_any_packed_bytes_end_in_bytes_or_in_our_error(body: bytes, encoding: str) -> None:
    for packed in (body, zlib.compress(body), zlib.compress(body)[:-1]):
        with suppress(TensorError, MediaTypeError, BodyTooLargeError):
            assert len(inflate(packed, encoding, 300)) <= 320


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": [' + b"[]," * (SIZE // 3 - 10) + b"[]]}",
        b'{"inputs": [{"name": "a", "shape": [1], "datatype": "FP32", "data": ['
        + b"[]," * (SIZE // 3 - 50)
        + b"[]]}]}",
        b'{"inputs": [' + b"{}," * (SIZE // 3 - 10) + b"{}]}",
        b"[" * SIZE,
        b'{"' + b'":0,"'.join(b"%d" % n for n in range(SIZE // 12)) + b'":0}',
    ],
    ids=["inputs of nothing", "data of nothing", "empty inputs", "deep", "keys"],
)
def test_no_body_takes_more_than_a_multiple_of_its_size(body: bytes) -> None:
    assert len(body) <= SIZE
    tracemalloc.start()
    try:
        with pytest.raises(ServiceError):
            read(body, None, SMALL)
        assert tracemalloc.get_traced_memory()[1] < SOME_MEMORY
    finally:
        tracemalloc.stop()


def test_a_bomb_is_not_unpacked() -> None:
    bomb = zlib.compress(bytes(200_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(ServiceError, match="more than 1000 bytes unpacked"):
            inflate(bomb, "deflate", 1000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_no_depth_exhausts_the_stack_where_it_is_quoted() -> None:
    for depth in range(900, 1000):
        for inner in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
            with pytest.raises(TensorError):
                read_json(f'{{"inputs": {inner}, "id": {inner}}}'.encode(), InferRequest)


def test_many_faults_are_told_in_few_words() -> None:
    with pytest.raises(ServiceError) as caught:
        read_json(json.dumps({"inputs": [{"shape": ["a"] * 8}] * 8}).encode(), InferRequest)
    assert len(str(caught.value)) < 500
