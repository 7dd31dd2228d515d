"""Random affine maps, flips and erasing, drawn for each image of a batch on its own.

torchvision's transforms draw once a batch when they are given a tensor, hence these few lines.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

_LARGEST_ERASED = 10


class Augmentation(Protocol):
    """Words as in `ClassifierConfig`."""

    @property
    def rotation(self) -> float: ...
    @property
    def translation(self) -> float: ...
    @property
    def scaling(self) -> float: ...
    @property
    def horizontal_flip(self) -> bool: ...
    @property
    def erasing(self) -> float: ...


def augment(images: Tensor, config: Augmentation) -> Tensor:
    """Augmented copies of images (N, 1, H, W); drawn from torch's global generator."""
    augmented = _random_affine(images, config)
    return _random_erasing(augmented, config.erasing) if config.erasing else augmented


def _random_affine(images: Tensor, config: Augmentation) -> Tensor:
    n, _, _, width = images.shape

    def uniform(limit: float) -> Tensor:
        return (torch.rand(n) * 2 - 1) * limit

    angle = uniform(math.radians(config.rotation))
    scale = 1 + uniform(config.scaling)
    mirror = torch.where(torch.rand(n) < 0.5, -1.0, 1.0) if config.horizontal_flip else torch.ones(n)
    shift_x, shift_y = (uniform(config.translation * 2 / width) for _ in range(2))
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = (
        torch.stack([cosine * mirror, -sine, shift_x], dim=1),
        torch.stack([sine * mirror, cosine, shift_y], dim=1),
    )
    maps = torch.stack(rows, dim=1).to(images.device)
    grid = torch.nn.functional.affine_grid(maps, list(images.shape), align_corners=False)
    return torch.nn.functional.grid_sample(images, grid, align_corners=False).clamp(0, 1)


def _random_erasing(images: Tensor, probability: float) -> Tensor:
    n, _, height, width = images.shape
    size = torch.randint(2, _LARGEST_ERASED + 1, (n, 1))
    top = (torch.rand(n, 1) * (height - size)).long()
    left = (torch.rand(n, 1) * (width - size)).long()
    rows, columns = torch.arange(height), torch.arange(width)
    inside_rows = (rows >= top) & (rows < top + size)
    inside_columns = (columns >= left) & (columns < left + size)
    erased = inside_rows[:, :, None] & inside_columns[:, None, :] & (torch.rand(n, 1, 1) < probability)
    return images.masked_fill(erased.unsqueeze(1).to(images.device), 0.0)
