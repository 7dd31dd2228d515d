"""The test images that are shipped beside the models, to show what they do. Knows no HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from service.errors import ManifestError, ParameterError, shortened
from service.images import SIZE
from service.manifest import Samples

_CLASSES = 10


@dataclass(frozen=True)
class SampleSet:
    """Test images shipped for demonstration: images uint8 (N, 28, 28), labels int64 (N,), and their origin."""

    entry: Samples
    images: np.ndarray[Any, np.dtype[np.uint8]]
    labels: np.ndarray[Any, np.dtype[np.int64]]

    def checked(self, index: str) -> int:
        """The index that is spelt so, in digits alone, where there is such a sample.

        Raises:
            ParameterError: there is none.
        """
        count = len(self.labels)
        if index not in map(str, range(count)):
            where = f"with dataset={self.entry.dataset}"
            raise ParameterError(f"sample is {shortened(index)} {where}; allowed: 0 to {count - 1}")
        return int(index)


def read_samples(folder: Path, entry: Samples) -> SampleSet:
    """The samples of a manifest's entry.

    Raises:
        ManifestError: the file is not what the entry says.
    """
    # NumPy raises whatever it stumbles over: ValueError, KeyError, OSError, zipfile's own, ...
    try:
        with np.load(folder / entry.file, allow_pickle=False) as file:
            images, labels = file["images"], file["labels"]
    except Exception as error:
        raise ManifestError(f"{folder / entry.file} is not an .npz of `images` and `labels`: {error!r}") from error
    fits = (
        (images.dtype, images.shape) == (np.uint8, (entry.count, SIZE, SIZE))
        and (labels.dtype, labels.shape) == (np.int64, (entry.count,))
        and entry.count > 0
        and bool(np.all((labels >= 0) & (labels < _CLASSES)))
    )
    if not fits:
        raise ManifestError(
            f"{folder / entry.file} holds {images.dtype} images {images.shape} and {labels.dtype} labels "
            f"{labels.shape}; allowed: uint8 ({entry.count}, {SIZE}, {SIZE}) and int64 ({entry.count},) in 0 to "
            f"{_CLASSES - 1}"
        )
    return SampleSet(entry, images=images, labels=labels)
