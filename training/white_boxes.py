"""What an attacker sees of the served models: the classifier, or the pipeline with its noise and its gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from service import manifest as manifests
from service.attacks import Cotangent, WhiteBox
from service.catalog import NO_DEFENSE
from service.catalog import noise as served_noise
from training import devices
from training.measurement import AttackSpec
from training.pipeline import Pipeline, TorchWhiteBox
from training.served import load_classifier, load_pipeline
from training.winograd import fastest

Draw = Callable[[int], Tensor]


@dataclass(frozen=True)
class Victim:
    """The served models that an attack is made on, and the device on which it is made."""

    models: Path
    dataset: str
    device: str


def white_box(victim: Victim, spec: AttackSpec, stream: int) -> WhiteBox:
    """The victim as the attacker of `spec` sees it; `stream` keeps the noise of different chunks apart."""
    if manifests.read(victim.models).purifier(victim.dataset, spec.defense) is None:
        return TorchWhiteBox(classifier(victim, spec.defense))
    pipeline = _pipeline(victim, spec.defense)
    draw = _draw(victim, spec, stream)
    if spec.gradient == "identity":
        return IdentityWhiteBox(pipeline, draw)
    return PipelineWhiteBox(pipeline, draw, spec.eot)


class PipelineWhiteBox:
    """A pipeline whose gradient is the mean over `eot` looks, each with the noise that `draw` gives.

    Conforms to `service.attacks.WhiteBox`. With fresh noise this is expectation over transformation (arXiv 1707.07397).
    """

    def __init__(self, pipeline: Pipeline, draw: Draw, eot: int = 1) -> None:
        self._pipeline = pipeline
        self._draw = draw
        self._eot = eot

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 10) of one look, that autograd can follow."""
        return self._look(images).forward(images)

    def logits(self, images: Tensor) -> Tensor:
        """Logits (N, 10) of one look."""
        return self._look(images).logits(images)

    def loss_gradient(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, 10) of the last look, and the mean gradient of each image's cross-entropy to its label."""
        return self._mean([self._look(images).loss_gradient(images, labels) for _ in range(self._eot)])

    def vector_jacobian(self, images: Tensor, cotangent: Cotangent) -> tuple[Tensor, Tensor]:
        """Logits (N, 10) of the last look, and the mean gradient of the loss."""
        return self._mean([self._look(images).vector_jacobian(images, cotangent) for _ in range(self._eot)])

    def _mean(self, looks: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        return looks[-1][0], torch.stack([gradient for _, gradient in looks]).mean(dim=0)

    def _look(self, images: Tensor) -> TorchWhiteBox:
        noise = self._draw(len(images))
        return TorchWhiteBox(lambda watched: self._pipeline(watched, noise))


class IdentityWhiteBox:
    """A pipeline that is gone through forward, and backward as if the purifier changed nothing (arXiv 1802.00420)."""

    def __init__(self, pipeline: Pipeline, draw: Draw) -> None:
        self._purifier = pipeline.purifier
        self._classifier = TorchWhiteBox(pipeline.classifier)
        self._draw = draw

    def logits(self, images: Tensor) -> Tensor:
        """Logits (N, 10)."""
        return self._classifier.logits(self._purified(images))

    def loss_gradient(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, 10), and the gradient of the cross-entropy by the purified images."""
        return self._classifier.loss_gradient(self._purified(images), labels)

    def vector_jacobian(self, images: Tensor, cotangent: Cotangent) -> tuple[Tensor, Tensor]:
        """Logits (N, 10), and the gradient of the loss by the purified images."""
        return self._classifier.vector_jacobian(self._purified(images), cotangent)

    @torch.no_grad()
    def _purified(self, images: Tensor) -> Tensor:
        return cast(Tensor, self._purifier(images, self._draw(len(images))))


def _draw(victim: Victim, spec: AttackSpec, stream: int) -> Draw:
    graph = manifests.read(victim.models).graph(victim.dataset, "purifier", spec.defense)
    device = torch.device(victim.device)
    if spec.noise == "drawn":
        rng = np.random.default_rng([spec.seed, stream, 1])
        shape = served_noise(graph, 1, None).shape[1:]
        return lambda n: torch.from_numpy(rng.standard_normal((n, *shape), dtype=np.float32)).to(device)
    fixed = torch.from_numpy(served_noise(graph, 1, spec.seed if spec.noise == "fixed" else None)).to(device)
    return lambda n: fixed.expand(n, *fixed.shape[1:])


def classifier(victim: Victim, defense: str = NO_DEFENSE) -> torch.nn.Module:
    """What answers for a defense, as a frozen torch module on the device of the victim; one for all that share it."""
    return _classifier(victim, manifests.read(victim.models).classifier(victim.dataset, defense).defense)


@lru_cache(maxsize=2)
def _classifier(victim: Victim, defense: str) -> torch.nn.Module:
    net = load_classifier(victim.models, manifests.read(victim.models), victim.dataset, defense)
    return fastest(net.to(_device(victim)), _device(victim), mixed_precision=False)


@lru_cache(maxsize=2)
def _pipeline(victim: Victim, defense: str) -> Pipeline:
    pipeline = load_pipeline(victim.models, manifests.read(victim.models), victim.dataset, defense)
    pipeline.classifier = classifier(victim, defense)
    return pipeline.to(_device(victim))


def _device(victim: Victim) -> torch.device:
    return devices.resolve(cast(devices.DeviceChoice, victim.device))
