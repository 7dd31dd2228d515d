"""What every contestant does with a picture, less the serving: the same pixels in, the same answer out.

The classifier sees the picture and its purified twin, as the service's /classify has it. Imports nothing of the
project: the peers' environment has NumPy, Pillow and ONNX Runtime only.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MODELS = Path(__file__).resolve().parents[2] / "models"
DATASET, DEFENSE = "mnist", "autoencoder"
MAX_BATCH = 32
Array = np.ndarray[Any, np.dtype[np.float32]]


def decode(data: bytes) -> Array:
    """A picture of 28 x 28 grey pixels as (1, 1, 28, 28) in [0, 1]."""
    return pixels(Image.open(io.BytesIO(data)))


def pixels(image: Image.Image) -> Array:
    """The same of a picture that is already open."""
    return (np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255))[None, None]


def answers(logits: Array) -> list[dict[str, Any]]:
    """One answer per picture, of logits (2 N, 10): those of the N pictures, then those of their purified twins."""
    unscaled = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = unscaled / unscaled.sum(axis=1, keepdims=True)
    half = len(logits) // 2
    return [
        {
            "label": int(after.argmax()),
            "confidence": float(after.max()),
            "probabilities": after.tolist(),
            "undefended": {"label": int(before.argmax()), "confidence": float(before.max())},
        }
        for before, after in zip(probabilities[:half], probabilities[half:], strict=True)
    ]


class OnnxModels:
    """The shipped purifier and classifier on ONNX Runtime with its default options."""

    def __init__(self) -> None:
        import onnxruntime  # not in the environment of every contestant

        graphs = json.loads((MODELS / "manifest.json").read_text())["graphs"]
        (purifier,) = [g for g in graphs if (g["kind"], g["dataset"], g["defense"]) == ("purifier", DATASET, DEFENSE)]
        self._noise = next(i["shape"][1:] for i in purifier["inputs"] if i["name"] == "noise")
        self._purifier, self._classifier = (
            onnxruntime.InferenceSession(MODELS / DATASET / name, providers=["CPUExecutionProvider"])
            for name in (f"{DEFENSE}.onnx", "classifier.onnx")
        )

    def __call__(self, images: Array) -> list[dict[str, Any]]:
        """Answers to pictures (N, 1, 28, 28)."""
        noise = np.zeros((len(images), *self._noise), dtype=np.float32)
        (purified,) = self._purifier.run(None, {"images": images, "noise": noise})
        (logits,) = self._classifier.run(["logits"], {"images": np.concatenate([images, purified])})
        return answers(logits)
