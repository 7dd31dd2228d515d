"""Predictions, accuracy and its Wilson interval, in batches."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

LogitsFunction = Callable[[Tensor], Tensor]


@torch.no_grad()
def predict(logits: LogitsFunction, images: Tensor, *, batch_size: int = 500) -> Tensor:
    """Predictions (N,) int64 of images (N, 1, 28, 28)."""
    return torch.cat([logits(batch).argmax(1).cpu() for batch in torch.split(images, batch_size)])


def accuracy(predictions: Tensor, labels: Tensor) -> float:
    """Share of predictions that are right, in [0, 1]."""
    return (predictions == labels).float().mean().item()


def wilson_interval(share: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share measured on n examples."""
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
