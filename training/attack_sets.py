"""Attacked training images for the purifier, made once for each classifier and kept on disk; and its clean logits.

Sets are stored as int8: an FGSM set holds the sign of the gradient, which serves every eps; a PGD set the
perturbation in units of eps / 127. Made in chunks, so that an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from service.attacks import pgd
from training.data import Examples
from training.pipeline import TorchWhiteBox
from training.winograd import fastest

_CHUNK = 2_560
_BATCH = 128
_LEVELS = 127
PGD_STEPS = 10
PGD_EPS = (0.05, 0.1, 0.15, 0.15, 0.15, 0.2, 0.3)
# Part of the name of the folder that keeps the sets, so that sets of another recipe are never taken for these.
_VERSION = 2
RECIPE = hashlib.sha256(repr((_VERSION, _CHUNK, _BATCH, PGD_STEPS, PGD_EPS)).encode()).hexdigest()[:8]


def gradient_signs(
    classifier: nn.Module, examples: Examples, folder: Path, *, device: torch.device, least_likely: bool = False
) -> Tensor:
    """FGSM directions int8 (N, 1, 28, 28) in {-1, 0, 1}: image + eps * direction is the FGSM image.

    With `least_likely` the direction is down the loss to the class of the lowest logit (arXiv 1611.01236), whose
    pattern does not carry the true label.
    """

    def directions(start: int, images: Tensor, labels: Tensor) -> Tensor:
        model = _white_box(classifier, device)
        if not least_likely:
            return model.loss_gradient(images, labels)[1].sign()
        return -model.loss_gradient(images, model.logits(images).argmin(1))[1].sign()

    return _chunked("fgsm least likely" if least_likely else "fgsm", directions, examples, folder, device)


def pgd_perturbations(
    classifier: nn.Module, examples: Examples, folder: Path, *, device: torch.device, seed: int
) -> tuple[Tensor, Tensor]:
    """PGD perturbations int8 (N, 1, 28, 28) in units of eps / 127, and the eps (N,) of each image."""
    choices = torch.tensor(PGD_EPS)
    drawn = torch.randint(len(PGD_EPS), (len(examples) // _BATCH + 1,), generator=torch.Generator().manual_seed(seed))
    eps_of_batch = choices[drawn]

    def perturbations(start: int, images: Tensor, labels: Tensor) -> Tensor:
        eps = eps_of_batch[start // _BATCH].item()
        rng = np.random.default_rng([seed, start])
        model = _white_box(classifier, device)
        adv_images = cast(Tensor, pgd(model, images, labels, eps=eps, steps=PGD_STEPS, rng=rng).adv_images)
        return (adv_images - images) * (_LEVELS / eps)

    stored = _chunked("pgd", perturbations, examples, folder, device)
    eps = eps_of_batch.repeat_interleave(_BATCH)[: len(examples)]
    return stored, eps


def clean_logits(classifier: nn.Module, examples: Examples, folder: Path, *, device: torch.device) -> Tensor:
    """The classifier's logits float32 (N, 10) for the images as they are."""
    path = folder / "clean-logits.pt"
    if not path.exists():
        model = _white_box(classifier, device)
        batches = tqdm(torch.split(examples.images, _BATCH), desc="clean logits", unit="batch", mininterval=2.0)
        logits = torch.cat([model.logits(batch.to(device)).cpu() for batch in batches])
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        torch.save(logits, temporary)
        temporary.replace(path)
    return cast(Tensor, torch.load(path, weights_only=True))


def perturbation(stored: Tensor, eps: Tensor) -> Tensor:
    """Float perturbations from stored PGD ones (N, 1, 28, 28) and their eps (N,)."""
    return stored.float() * (eps / _LEVELS).view(-1, 1, 1, 1)


@lru_cache(maxsize=1)
def _white_box(classifier: nn.Module, device: torch.device) -> TorchWhiteBox:
    """One for all sets: the fastest form of a classifier takes time to make and memory to hold."""
    return TorchWhiteBox(fastest(classifier, device, mixed_precision=True), mixed_precision=True)


def _chunked(
    name: str,
    make: Callable[[int, Tensor, Tensor], Tensor],
    examples: Examples,
    folder: Path,
    device: torch.device,
) -> Tensor:
    folder.mkdir(parents=True, exist_ok=True)
    chunks = []
    with tqdm(total=len(examples), desc=f"{name} set", unit="image", mininterval=2.0) as bar:
        for first in range(0, len(examples), _CHUNK):
            path = folder / f"{name.replace(' ', '-')}-{first:06d}.pt"
            last = min(first + _CHUNK, len(examples))
            if not path.exists():
                parts = []
                for start in range(first, last, _BATCH):
                    batch = slice(start, min(start + _BATCH, last))
                    made = make(start, examples.images[batch].to(device), examples.labels[batch].to(device))
                    parts.append(made.round().to(torch.int8).cpu())
                    bar.update(batch.stop - batch.start)
                temporary = path.with_suffix(".tmp")
                torch.save(torch.cat(parts), temporary)
                temporary.replace(path)
            else:
                bar.update(last - first)
            chunks.append(torch.load(path, weights_only=True))
    return torch.cat(chunks)
