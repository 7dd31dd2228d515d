"""Tiny nets and data, so that the training package is tested in seconds without a download."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from torch import nn

from service import manifest as manifests
from tests.training import tiny_export
from tests.training.tiny_classifier import TinyClassifier
from training import bench, classifiers, served, white_boxes
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


@pytest.fixture(scope="session")
def exported_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of `tiny_export`, exported once, by whichever process of the tests needs them first: it takes seconds."""
    run = tmp_path_factory.getbasetemp()
    shared = run.parent if "PYTEST_XDIST_WORKER" in os.environ else run
    folder = shared / "exported" / "models"
    with FileLock(shared / "exported.lock"):
        if not (folder / manifests.FILE_NAME).exists():
            tiny_export.export(folder)
    return folder


@pytest.fixture
def models(exported_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the exported models, which torch fills its tiny net from; its classifier is `served_classifier`."""
    monkeypatch.setitem(classifiers.ARCHITECTURES, "vgg16", TinyClassifier)
    for cached in (white_boxes._classifier, white_boxes._pipeline, bench._catalog):
        cached.cache_clear()
    shutil.copytree(exported_models, tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def served_classifier(models: Path) -> nn.Module:
    """The torch net of `models`."""
    return served.load_classifier(models, manifests.read(models), "mnist")


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
