"""Classifier architectures by name, one paper or model a file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from training.classifiers.vgg16 import VGG16

ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "vgg16": VGG16,
    # Small enough to ship beside the plain one.
    "vgg16_half": partial(VGG16, dropout=0.1, width=0.5),
}
