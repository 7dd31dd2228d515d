"""A graph against the torch module that it was made from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from service.inference import Session
from service.manifest import TensorSpec
from training.errors import ExportError

LOGITS_TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 1e-3
_LARGE = 50.0
GRADIENT_OUTPUT = TensorSpec(name="images_gradient", shape=("N", 1, 28, 28))


def examples(inputs: tuple[TensorSpec, ...], n: int = 3) -> tuple[Tensor, ...]:
    """Random inputs of those shapes for n images, the same each time."""
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.rand(*(n if size == "N" else size for size in spec.shape), generator=generator) for spec in inputs
    )


def verify_parity(
    reference: Callable[..., Any], session: Session, inputs: tuple[TensorSpec, ...], images: Tensor
) -> float:
    """The largest deviation of a graph from its torch reference over batches of one and of all images, real and noisy.

    Raises:
        ExportError: it exceeds 1e-4 on logits and purified images, or 1e-3 of their length on gradients (the median
            over the images of a batch).
    """
    worst = 0.0
    generator = torch.Generator().manual_seed(0)
    for n in (1, len(images)):
        given = list(examples(inputs, n))
        noisy = (images[:n] + 0.3 * (torch.rand(n, 1, 28, 28, generator=generator) - 0.5)).clamp(0, 1)
        for batch in (images[:n], noisy):
            given[0] = batch
            expected = reference(*given)
            expected = expected if isinstance(expected, tuple) else (expected,)
            found = session.run(**{spec.name: value.numpy() for spec, value in zip(inputs, given, strict=True)})
            for (name, values), wanted in zip(found.items(), expected, strict=True):
                if n == 1 and name == GRADIENT_OUTPUT.name:
                    continue  # one image has no median
                worst = max(worst, _deviation(name, values, wanted.detach().numpy()))
    return worst


def largest_deviation(values: np.ndarray[Any, Any], reference: np.ndarray[Any, Any]) -> float:
    """Of one value; where values are beyond 50, as a distilled classifier's logits are, in units of a fiftieth of the
    largest, since a float32 has seven digits.
    """
    return float(np.abs(values - reference).max() / max(1.0, np.abs(reference).max() / _LARGE))


def gradient_deviation(values: np.ndarray[Any, Any], reference: np.ndarray[Any, Any]) -> float:
    """Of gradients (N, 1, 28, 28), as a share of their lengths: the median over the images.

    Where two values of a pooling window are equal but for rounding, two runtimes may send the gradient to different
    ones, and both are right. That changes single images, hence the median.
    """
    lengths = np.sqrt(np.square(reference).sum(axis=(1, 2, 3)))
    errors = np.sqrt(np.square(values - reference).sum(axis=(1, 2, 3))) / np.maximum(lengths, 1e-30)
    return float(np.median(errors))


def _deviation(name: str, values: np.ndarray[Any, Any], reference: np.ndarray[Any, Any]) -> float:
    if name == GRADIENT_OUTPUT.name:
        deviation, tolerance = gradient_deviation(values, reference), GRADIENT_TOLERANCE
    else:
        deviation, tolerance = largest_deviation(values, reference), LOGITS_TOLERANCE
    if not deviation <= tolerance:
        raise ExportError(f"output {name!r} deviates from torch by {deviation:.2e}; allowed: {tolerance:.2e}")
    return deviation
