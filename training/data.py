"""MNIST and Fashion-MNIST as tensors, split into train, validation and test.

The validation split is fixed: the last `VALIDATION_SIZE` images of a seeded permutation of the training set.
It selects models; the test set is for final figures only. Knows nothing of models.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torchvision.datasets import MNIST, FashionMNIST

from training import idx
from training.errors import DataError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
DATASETS = {"mnist": MNIST, "fashion-mnist": FashionMNIST}
DATA_DIR_VARIABLE = "PURIFIER_DATA_DIR"
DEFAULT_DATA_DIR = Path("data")
VALIDATION_SIZE = 5_000
_SPLIT_SEED = 20_231_207


@dataclass(frozen=True)
class Examples:
    """Images (N, 1, 28, 28) float32 in [0, 1] with their labels (N,) int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, n: int | None) -> Examples:
        """The first `n` examples; all of them where `n` is None."""
        return self if n is None else Examples(self.images[:n], self.labels[:n])


def resolve_data_dir(data_dir: Path | None) -> Path:
    """The folder given, else the one in ``PURIFIER_DATA_DIR``, else ``./data``."""
    return data_dir or Path(os.environ.get(DATA_DIR_VARIABLE) or DEFAULT_DATA_DIR)


def load(dataset: str, split: Split, data_dir: Path | None = None) -> Examples:
    """One split of one data set; downloaded by torchvision where `data_dir` does not hold it.

    Raises:
        DataError: the data set or split is unknown, or the files are damaged or can be neither read nor downloaded.
    """
    if dataset not in DATASETS:
        raise DataError(f"unknown dataset {dataset!r}; allowed: {', '.join(DATASETS)}")
    if split not in SPLITS:
        raise DataError(f"unknown split {split!r}; allowed: {', '.join(SPLITS)}")
    raw = _open(dataset, train=split != "test", folder=resolve_data_dir(data_dir))
    examples = Examples(raw.data.unsqueeze(1).float() / 255.0, raw.targets.long())
    if split == "test":
        return examples
    generator = torch.Generator().manual_seed(_SPLIT_SEED)
    order = torch.randperm(len(examples), generator=generator)
    chosen = order[-VALIDATION_SIZE:] if split == "validation" else order[:-VALIDATION_SIZE]
    return Examples(examples.images[chosen], examples.labels[chosen])


def _open(dataset: str, *, train: bool, folder: Path) -> MNIST:
    kind = DATASETS[dataset]
    raw, part = folder / kind.__name__ / "raw", "train" if train else "t10k"
    images, labels = raw / f"{part}-images-idx3-ubyte", raw / f"{part}-labels-idx1-ubyte"
    if images.exists() and labels.exists():
        idx.check_pair(images, labels)
    try:
        return kind(root=str(folder), train=train, download=True)
    except Exception as error:
        raise DataError(
            f"{dataset} is not in {folder} and could not be downloaded ({error}); "
            f"set --data-dir or {DATA_DIR_VARIABLE} to a folder with torchvision's layout ({kind.__name__}/raw)"
        ) from error
