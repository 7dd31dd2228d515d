"""Classifier architectures by name, one paper or model a file."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from training.classifiers.vgg16 import VGG16

ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {"vgg16": VGG16}
