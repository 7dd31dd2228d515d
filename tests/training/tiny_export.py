"""Tiny graphs for MNIST: a classifier, a purifier, and another that goes by the paper's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from tests.training.tiny_classifier import TinyClassifier
from training.data import Examples
from training.export import export_dataset
from training.pipeline import freeze
from training.plans import TrainedClassifier, TrainedPurifier
from training.purifiers.paper_autoencoder import PaperAutoencoder
from training.weights import round_to_stored_precision

CLASSIFIER_CONFIG: dict[str, Any] = {"seed": 3, "architecture": "vgg16"}
PURIFIER_CONFIG: dict[str, Any] = {"seed": 3, "architecture": "autoencoder_paper", "noise_std": 1.0}
DEFENSES = ("autoencoder", "autoencoder_paper")


def export(folder: Path) -> None:
    """Fill a folder with them."""
    purifiers = tuple(TrainedPurifier(defense, tiny_purifier(defense), PURIFIER_CONFIG) for defense in DEFENSES)
    classifier = TrainedClassifier(rounded_classifier(), CLASSIFIER_CONFIG)
    export_dataset("mnist", classifier, purifiers, test=held_out_images(), models=folder)


def rounded_classifier() -> nn.Module:
    """The classifier, with the weights that are stored."""
    classifier = freeze(TinyClassifier())
    round_to_stored_precision(classifier)
    return classifier


def tiny_purifier(defense: str) -> nn.Module:
    """The purifier of a name, with the weights that are stored."""
    torch.manual_seed(DEFENSES.index(defense))
    module = PaperAutoencoder()
    last = module.decoder[-1]
    assert isinstance(last, nn.ConvTranspose2d)
    with torch.no_grad():  # so that what it draws, and with it the answer, depends on image and noise
        last.weight.mul_(100)
    round_to_stored_precision(module)
    return freeze(module)


def held_out_images() -> Examples:
    """What they are measured on: noise, and every class in turn."""
    images = torch.rand(240, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    return Examples(images, torch.arange(240) % 10)
