"""The test images that are shipped for demonstration. Knows no models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from service import manifest as manifests
from service.manifest import Samples
from training.data import Examples

SAMPLES_PER_CLASS = 20
_LICENCES = {
    "mnist": ("MNIST test set (LeCun, Cortes, Burges)", "CC BY-SA 3.0"),
    "fashion-mnist": ("Fashion-MNIST test set (Zalando SE)", "MIT"),
}


def sampled(test: Examples) -> Tensor:
    """The places (200,) of the first images of each class, interleaved so that sample n shows class n mod 10."""
    by_class = [torch.nonzero(test.labels == label)[:SAMPLES_PER_CLASS, 0] for label in range(10)]
    return torch.stack(by_class, dim=1).flatten()


def write_samples(dataset: str, test: Examples, folder: Path) -> Samples:
    """`samples.npz` in a folder, and its entry in the manifest."""
    chosen = sampled(test)
    images = (test.images[chosen, 0] * 255).round().to(torch.uint8).numpy()
    path = folder / "samples.npz"
    np.savez_compressed(path, images=images, labels=test.labels[chosen].numpy())
    source, licence = _LICENCES[dataset]
    return Samples(
        dataset=dataset,
        file=f"{dataset}/{path.name}",
        sha256=manifests.sha256(path),
        count=len(chosen),
        source=source,
        licence=licence,
    )
