"""Models whose optimum is known in closed form, and images to attack them with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from service.attacks import BlackBox, Cotangent
from service.attacks.white_box import one_hot, to_numpy
from tests.service.asking import Array

SIDE = 28


@dataclass
class LinearModel:
    """Logits are pixels times weights (pixels, K)."""

    weights: Any

    def logits(self, images: Any) -> Any:
        xp = array_namespace(images)
        return xp.reshape(images, (images.shape[0], self.weights.shape[0])) @ self.weights

    def loss_gradient(self, images: Any, labels: Any) -> tuple[Any, Any]:
        return self.vector_jacobian(images, lambda logits: _error(logits, labels))

    def vector_jacobian(self, images: Any, cotangent: Cotangent) -> tuple[Any, Any]:
        logits = self.logits(images)
        weights = cotangent(logits) if callable(cotangent) else cotangent
        return logits, self._to_images(weights * self._slope(images), images)

    def _slope(self, images: Any) -> Any:
        return 1.0

    def _to_images(self, by_logits: Any, images: Any) -> Any:
        xp = array_namespace(images)
        return xp.reshape(by_logits @ self.weights.T, images.shape)


class WavyModel(LinearModel):
    """Logits are 4 sin(pixels times weights): many hills, so that it matters where a walk starts."""

    def logits(self, images: Any) -> Any:
        xp = array_namespace(images)
        return 4 * xp.sin(super().logits(images))

    def _slope(self, images: Any) -> Any:
        xp = array_namespace(images)
        return 4 * xp.cos(LinearModel.logits(self, images))


@dataclass
class Spy:
    """Counts the images that a model is shown."""

    model: LinearModel
    queries: int = 0
    gradients: int = 0

    def logits(self, images: Any) -> Any:
        self.queries += len(images)
        return self.model.logits(images)

    def loss_gradient(self, images: Any, labels: Any) -> tuple[Any, Any]:
        self.gradients += len(images)
        return self.model.loss_gradient(images, labels)

    def vector_jacobian(self, images: Any, cotangent: Cotangent) -> tuple[Any, Any]:
        self.gradients += len(images)
        return self.model.vector_jacobian(images, cotangent)


@dataclass
class Scores:
    """A model that can only be asked for its logits."""

    model: BlackBox = field()

    def logits(self, images: Any) -> Any:
        return self.model.logits(images)


class Decisions(Scores):
    """A model that names a class and says no more."""

    def logits(self, images: Any) -> Any:
        logits = super().logits(images)
        xp = array_namespace(logits)
        return xp.astype(one_hot(xp.argmax(logits, axis=1), logits), logits.dtype)


def _error(logits: Any, labels: Any) -> Any:
    """The cross-entropy's gradient by the logits: softmax minus one-hot."""
    xp = array_namespace(logits)
    unscaled = xp.exp(logits - xp.max(logits, axis=1, keepdims=True))
    probabilities = unscaled / xp.sum(unscaled, axis=1, keepdims=True)
    return probabilities - xp.astype(one_hot(labels, logits), logits.dtype)


def weights(classes: int = 10, scale: float = 0.1, side: int = SIDE) -> Array:
    return (np.random.default_rng(1).standard_normal((side * side, classes)) * scale).astype(np.float32)


def images_in(low: float = 0.3, high: float = 0.7, n: int = 6, side: int = SIDE) -> Array:
    drawn = np.random.default_rng(2).uniform(low, high, (n, 1, side, side))
    return drawn.astype(np.float32)


def black_and_white(n: int = 6) -> Array:
    return (np.random.default_rng(3).random((n, 1, SIDE, SIDE)) > 0.5).astype(np.float32)


def labels_of(model: BlackBox, images: Any) -> Array:
    return to_numpy(array_namespace(images).argmax(model.logits(images), axis=1))
