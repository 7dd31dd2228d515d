"""Tiny nets and data, so that the training package is tested in seconds without a download."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.training.tiny_classifier import TinyClassifier
from training.data import Examples


@pytest.fixture
def classifier() -> nn.Module:
    return TinyClassifier().eval().requires_grad_(False)


@pytest.fixture
def examples() -> Examples:
    """Sixty images with a bright band whose place is the label; plain background, so that pooling meets ties."""
    labels = torch.arange(60) % 10
    images = torch.zeros(60, 1, 28, 28)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[0, 2 * label + 2 : 2 * label + 5, 4:24] = 1.0
    return Examples(images, labels)


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    """A folder in torchvision's layout with random MNIST-like files: 6,000 training and 50 test images."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    for name, n in (("train", 6_000), ("t10k", 50)):
        pixels = torch.randint(0, 256, (n, 28, 28), generator=generator).to(torch.uint8).numpy().tobytes()
        labels = (torch.arange(n) % 10).to(torch.uint8).numpy().tobytes()
        (raw / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 0x803, n, 28, 28) + pixels)
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, n) + labels)
    return tmp_path
