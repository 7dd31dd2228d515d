"""A net with every backward operator of VGG-16, in small."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from training import classifiers

T = TypeVar("T")


class TinyClassifier(nn.Module):
    """Two convolutions with a pooling between them, images (N, 1, 28, 28) to logits (N, 10)."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, 2), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()
        )
        self.head = nn.Linear(8 * 14 * 14, 10)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images).flatten(1))
        return logits


def on_tiny_nets(job: Callable[[], T]) -> T:
    """What a job gives in a process where the classifier is the tiny one, as the fixture `models` makes this one."""
    classifiers.ARCHITECTURES["vgg16"] = TinyClassifier
    return job()
