"""How the tests write requests of the Open Inference Protocol."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from tests.service.tiny_models import image_of

Array = np.ndarray[Any, Any]
HEADER = "Inference-Header-Content-Length"


def digits(*labels: int) -> Array:
    """float32 (N, 1, 28, 28) that the tiny classifier of mnist names so."""
    return np.stack([image_of("mnist", label)[None] for label in labels]).astype(np.float32) / np.float32(255)


def entry(images: Array, **changes: Any) -> dict[str, Any]:
    """The input `images` as JSON."""
    whole = {"name": "images", "shape": list(images.shape), "datatype": "FP32", "data": images.ravel().tolist()}
    return {key: value for key, value in {**whole, **changes}.items() if value is not None}


def as_json(images: Array, **more: Any) -> bytes:
    return json.dumps({"inputs": [entry(images)], **more}).encode()


def as_binary(images: Array, **more: Any) -> tuple[bytes, dict[str, str]]:
    """Body and headers."""
    packed = images.astype("<f4").tobytes()
    tensor = entry(images, data=None, parameters={"binary_data_size": len(packed)})
    head = json.dumps({"inputs": [tensor], **more}).encode()
    return head + packed, {HEADER: str(len(head))}
