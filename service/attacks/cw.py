"""Carlini and Wagner's L2 attack (arXiv 1608.04644): trades the distance against a margin of logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from array_api_compat import array_namespace
from pydantic import Field

from service.attacks.account import Gradients, Result
from service.attacks.norms import length
from service.attacks.parameters import Steps, at_least
from service.attacks.white_box import Array, WhiteBox, lead, lead_cotangent, like, to_numpy

# Tanh reaches neither 0 nor 1. At .999999, where others start a black or white pixel, its slope is so small that a
# hundred steps hardly move the pixel, and most pixels of a digit are black or white.
_INSIDE = 0.999
_FACTOR = 10.0


def cw(
    model: WhiteBox,
    images: Array,
    labels: Array,
    *,
    steps: Steps = 100,
    step_size: Annotated[float, Field(gt=0, le=1, description="Adam's learning rate")] = 0.05,
    search_steps: Annotated[int, Field(ge=1, le=10, description="values of the trade-off that are tried")] = 6,
    initial_const: Annotated[float, Field(gt=0, le=1e6, description="the first of them")] = 0.1,
    confidence: Annotated[float, Field(ge=0, le=100, description="margin of logits to be won")] = 0.0,
    targeted: bool = False,
) -> Result:
    """Adversarial images (N, 1, 28, 28) in [0, 1] at a small L2 distance; the untouched image where none was found.

    Minimises |perturbation|^2 + const * max(margin, -confidence) with Adam over the arctanh of the pixels, and
    searches const by bisection. Draws nothing.

    Departures from the paper: by default 6 searches of 100 steps of 0.05 from 0.1, instead of 9 of 10,000 of 0.01 from
    0.001, which take 150 times the gradients; no search stops early, which costs distance where a loss swings; a walk
    begins .0005 inside of black and white; and what fools already is returned as it is.

    Raises:
        ValueError: steps or search_steps is below 1, or another parameter is negative or not finite.
    """
    at_least(1, steps=steps, search_steps=search_steps)
    at_least(0.0, step_size=step_size, initial_const=initial_const, confidence=confidence)
    n = images.shape[0]
    search = _Search(Gradients(model, n), images, labels, targeted, confidence)
    const, low, high = np.full(n, initial_const), np.zeros(n), np.full(n, np.inf)
    for _ in range(search_steps):
        found = search.run(const, steps, step_size)
        high, low = np.where(found, const, high), np.where(found, low, const)
        const = np.where(np.isfinite(high), (low + high) / 2, const * _FACTOR)
    return search.result()


@dataclass
class _Adam:
    """Adam (arXiv 1412.6980) over an array, with the moments so far."""

    first: Array
    second: Array
    count: int = 0

    def step(self, gradient: Array, size: float) -> Array:
        """How far to move against the gradient."""
        self.count += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient * gradient
        unbiased = self.second / (1 - 0.999**self.count)
        xp = array_namespace(gradient)
        return size * (self.first / (1 - 0.9**self.count)) / (xp.sqrt(unbiased) + 1e-8)


class _Search:
    """The best adversarial image of each image over all values of the trade-off."""

    def __init__(self, victim: Gradients, images: Array, labels: Array, targeted: bool, confidence: float) -> None:
        xp = array_namespace(images)
        self._victim, self._images, self._labels = victim, images, labels
        self._sign, self._confidence = -1.0 if targeted else 1.0, confidence
        self._start = xp.atanh((2 * images - 1) * _INSIDE)
        self._best = xp.asarray(images, copy=True)
        self._best_length = np.where(self._wins(victim.logits(images)), 0.0, np.inf)

    def result(self) -> Result:
        return self._victim.result(self._best)

    def run(self, const: np.ndarray[Any, Any], steps: int, size: float) -> np.ndarray[Any, Any]:
        """Where (N,) an adversarial image was found with these constants."""
        xp = array_namespace(self._images)
        found = np.zeros(self._images.shape[0], dtype=bool)
        variable = self._start
        adam = _Adam(xp.zeros_like(variable), xp.zeros_like(variable))
        for _ in range(steps):
            gradient, success = self._evaluate(variable, const)
            found |= success
            variable = variable - adam.step(gradient, size)
        return found

    def _evaluate(self, variable: Array, const: np.ndarray[Any, Any]) -> tuple[Array, np.ndarray[Any, Any]]:
        """The loss's gradient by the variable, and where (N,) the image is adversarial; the nearest are kept."""
        xp = array_namespace(variable)
        squashed = xp.tanh(variable)
        adv_images = (squashed + 1) / 2
        weight = like(const * self._sign, adv_images)

        def cotangent(logits: Array) -> Array:
            unwon = self._sign * lead(logits, self._labels) > -self._confidence
            return lead_cotangent(logits, self._labels) * (weight * xp.astype(unwon, adv_images.dtype))[:, None]

        logits, gradient = self._victim.vector_jacobian(adv_images, cotangent)
        size = to_numpy(length(adv_images - self._images, "l2"))[:, 0, 0, 0]
        success = self._wins(logits)
        better = np.flatnonzero(success & (size < self._best_length))
        self._best[better] = adv_images[better]
        self._best_length[better] = size[better]
        by_pixels = gradient + 2 * (adv_images - self._images)
        return by_pixels * (1 - squashed * squashed) / 2, success

    def _wins(self, logits: Array) -> np.ndarray[Any, Any]:
        """Where (N,) the victim is fooled by the margin that is asked for."""
        margin = self._sign * to_numpy(lead(logits, self._labels))
        wins: np.ndarray[Any, Any] = (margin < 0) & (margin <= -self._confidence)
        return wins
