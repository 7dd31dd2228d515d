"""Purifier and classifier as one classifier, and any torch classifier as a white-box attack sees it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn

from service.attacks import Cotangent
from training.devices import autocast


class Purifier(Protocol):
    """What every purifier module offers beside being an `nn.Module`."""

    noise_shape: tuple[int, ...]

    def __call__(self, images: Tensor, noise: Tensor) -> Tensor:
        """Reconstructions (N, 1, 28, 28), not clamped, of images and standard normal noise (N, *noise_shape)."""

    def draw_noise(self, n: int, device: torch.device) -> Tensor:
        """Standard normal noise for n images."""


class ClampedPurifier(nn.Module):
    """A purifier as it is exported and served: its output clamped to [0, 1]."""

    def __init__(self, purifier: nn.Module) -> None:
        super().__init__()
        self.purifier = purifier

    def forward(self, images: Tensor, noise: Tensor) -> Tensor:
        """Purified images (N, 1, 28, 28) in [0, 1]."""
        return torch.clamp(self.purifier(images, noise), 0.0, 1.0)


class Pipeline(nn.Module):
    """Purifier then classifier: images (N, 1, 28, 28) and noise to logits (N, 10)."""

    def __init__(self, purifier: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.purifier = ClampedPurifier(purifier)
        self.classifier = classifier

    def forward(self, images: Tensor, noise: Tensor) -> Tensor:
        """Logits (N, 10)."""
        logits: Tensor = self.classifier(self.purifier(images, noise))
        return logits


def cross_entropy_cotangent(logits: Tensor, labels: Tensor) -> Tensor:
    """The derivative (N, 10) of each image's cross-entropy by its logits, softmax - one-hot, without cancellation.

    Where a float32 softmax says 1 for the label, softmax - 1 rounds to 0: the label's share of the gradient is lost,
    and what is left points elsewhere. On MNIST that held for two images of three, and left half of them standing
    under PGD. Here the label's entry is minus the sum of the others, which is the same number and keeps its digits.
    """
    others = torch.softmax(logits, dim=1).scatter(1, labels[:, None], 0.0)
    return others.scatter(1, labels[:, None], -others.sum(dim=1, keepdim=True))


class TorchWhiteBox:
    """The logits and input gradient of a torch module. Conforms to `service.attacks.WhiteBox`.

    Args:
        model: images to logits; modules in eval mode with frozen weights.
        mixed_precision: bf16 autocast, faster where the device has it; for making training sets, never for evaluation.
    """

    def __init__(self, model: Callable[[Tensor], Tensor], *, mixed_precision: bool = False) -> None:
        self._model = model
        self._mixed_precision = mixed_precision

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 10) that autograd can follow."""
        with self._precision(images):
            return self._model(images).float()

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Logits (N, 10)."""
        return self.forward(images)

    def loss_gradient(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, 10) and the gradient of each image's cross-entropy to its label."""
        return self.vector_jacobian(images, lambda logits: cross_entropy_cotangent(logits, labels))

    def vector_jacobian(self, images: Tensor, cotangent: Cotangent) -> tuple[Tensor, Tensor]:
        """Logits (N, 10) and the gradient of any loss, by its derivative by the logits."""
        watched = images.detach().clone().requires_grad_()
        logits = self.forward(watched)
        weights = cotangent(logits.detach()) if callable(cotangent) else cotangent
        (gradient,) = torch.autograd.grad(logits, watched, weights)
        return logits.detach(), gradient.float()

    def _precision(self, images: Tensor) -> AbstractContextManager[object]:
        return autocast(images.device) if self._mixed_precision else nullcontext()


def freeze(model: nn.Module) -> nn.Module:
    """The same module in eval mode, its weights without gradients."""
    return model.eval().requires_grad_(False)
