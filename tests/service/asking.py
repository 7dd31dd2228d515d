"""How the tests talk to the service: pictures in, promises about answers out."""

from __future__ import annotations

import io
from typing import Any

import httpx
import httpx2
import numpy as np
from PIL import Image

from service.envelope import PROTECTION
from tests.service.tiny_models import image_of

Array = np.ndarray[Any, Any]
PROBLEM_KEYS = {"type", "title", "status", "detail", "instance", "error", "request_id"}


def png(pixels: Array, mode: str | None = None, **options: Any) -> bytes:
    """A PNG of an array, converted to `mode` where given."""
    return picture(Image.fromarray(pixels) if mode is None else Image.fromarray(pixels).convert(mode), **options)


def picture(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=file_format, **options)
    return buffer.getvalue()


def digit(label: int = 3, dataset: str = "mnist") -> bytes:
    """A PNG that the tiny classifier names `label`."""
    return png(image_of(dataset, label))


def pixels_of(data: bytes) -> Array:
    return np.asarray(Image.open(io.BytesIO(data)))


def assert_problem(response: httpx2.Response | httpx.Response, status: int, *fragments: str) -> None:
    """The answer is a problem of that status, whose detail holds the fragments."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert set(problem) == PROBLEM_KEYS
    assert problem["status"] == status
    assert problem["error"] == problem["detail"] != ""
    assert problem["request_id"] == response.headers["x-request-id"] != ""
    assert {name: response.headers[name] for name in PROTECTION} == PROTECTION
    for fragment in fragments:
        assert fragment in problem["detail"]
