"""A small convolutional net that stands in for VGG-16 while a purifier is trained adversarially. Never served."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from training.classifiers.vgg16 import NUM_CLASSES

_MEAN, _STD = 0.3, 0.3


class Student(nn.Module):
    """Images (N, 1, 28, 28) in [0, 1] to logits (N, 10), in 5 M multiply-adds an image where VGG-16 takes 313 M."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(2 * width, 3 * width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(3 * width, 4 * width, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(4 * width * 49, 128), nn.ReLU(), nn.Linear(128, NUM_CLASSES),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 10)."""
        return cast(Tensor, self.layers((images - _MEAN) / _STD))
