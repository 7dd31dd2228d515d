"""Served models as attackers see them: with their gradients, by their answers alone, or through averaged noise.

Knows ONNX Runtime sessions and no catalogue. Arrays are NumPy float32; images are (N, 1, 28, 28) in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from service.attacks import BlackBox, Cotangent
from service.images import FloatArray
from service.inference import Session

IntArray = np.ndarray[Any, np.dtype[np.int64]]
_CLASSES = 10
_View = TypeVar("_View", bound=BlackBox)


class GradientModel:
    """A classifier or pipeline as a white-box attack sees it. Conforms to `service.attacks.WhiteBox`.

    Its gradient graph takes `cotangent` (N, 10) and `softmax_weight` (N, 1) and returns the logits and the
    gradient of a loss by the images: with weight 1 and a cotangent of minus one-hot the cross-entropy's, in one
    pass and without cancellation where the softmax is 1; with weight 0 the vector-Jacobian product of any cotangent.
    """

    def __init__(self, forward: Session, gradient: Session, fixed_noise: FloatArray | None = None) -> None:
        self._forward = forward
        self._gradient = gradient
        self._noise = fixed_noise

    def logits(self, images: FloatArray) -> FloatArray:
        """Logits (N, 10)."""
        return self._forward.run(images=images, **self._noise_for(images))["logits"]

    def loss_gradient(self, images: FloatArray, labels: IntArray) -> tuple[FloatArray, FloatArray]:
        """Logits (N, 10) and the gradient of the cross-entropy to labels (N,) by the images."""
        return self._pull(images, -np.eye(_CLASSES, dtype=np.float32)[labels], softmax_weight=1.0)

    def vector_jacobian(self, images: FloatArray, cotangent: Cotangent) -> tuple[FloatArray, FloatArray]:
        """Logits (N, 10) and the gradient by the images of any loss, by its derivative by the logits."""
        weights = cotangent(self.logits(images)) if callable(cotangent) else cotangent
        return self._pull(images, weights, softmax_weight=0.0)

    def _pull(self, images: FloatArray, cotangent: FloatArray, softmax_weight: float) -> tuple[FloatArray, FloatArray]:
        outputs = self._gradient.run(
            images=images,
            cotangent=cotangent,
            softmax_weight=np.full((len(images), 1), softmax_weight, np.float32),
            **self._noise_for(images),
        )
        return outputs["logits"], outputs["images_gradient"]

    def _noise_for(self, images: FloatArray) -> Mapping[str, FloatArray]:
        if self._noise is None:
            return {}
        return {"noise": _repeated(self._noise, len(images))}


class PipelineAnswers:
    """A pipeline that can only be asked, with its latent noise fixed. Conforms to `service.attacks.BlackBox`."""

    def __init__(self, forward: Session, fixed_noise: FloatArray) -> None:
        self._forward = forward
        self._noise = fixed_noise

    def logits(self, images: FloatArray) -> FloatArray:
        """Logits (N, 10)."""
        return self._forward.run(images=images, noise=_repeated(self._noise, len(images)))["logits"]


class Averaged:
    """A pipeline seen through the mean of several draws of its noise, fresh ones at each look (EOT, arXiv 1707.07397).

    Logits are the mean of the draws' logits, gradients the mean of the draws' gradients.

    Args:
        view: the pipeline with one draw (1, ...) of noise.
        shape: of one draw.
    """

    def __init__(self, view: Callable[[FloatArray], Any], shape: tuple[int, ...], *, draws: int, seed: int) -> None:
        self._view = view
        self._shape = (draws, 1, *shape)
        # Not the attack's own stream, which the same seed starts.
        self._rng = np.random.default_rng([seed, 1])

    def logits(self, images: FloatArray) -> FloatArray:
        """Mean logits (N, 10)."""
        return _mean([view.logits(images) for view in self._draw()])

    def loss_gradient(self, images: FloatArray, labels: IntArray) -> tuple[FloatArray, FloatArray]:
        """Mean logits, and the gradient of the mean cross-entropy."""
        logits, gradients = zip(*(view.loss_gradient(images, labels) for view in self._draw()), strict=True)
        return _mean(logits), _mean(gradients)

    def vector_jacobian(self, images: FloatArray, cotangent: Cotangent) -> tuple[FloatArray, FloatArray]:
        """Mean logits, and the gradient of the mean loss."""
        logits, gradients = zip(*(view.vector_jacobian(images, cotangent) for view in self._draw()), strict=True)
        return _mean(logits), _mean(gradients)

    def _draw(self) -> list[Any]:
        return [self._view(draw) for draw in self._rng.standard_normal(self._shape, dtype=np.float32)]


def seen_through(
    view: Callable[[FloatArray], _View], fixed: FloatArray, seed: int | None, draws: int
) -> _View | Averaged:
    """A pipeline seen with the fixed noise (1, ...), or, where `draws` is above 0, through so many fresh ones."""
    return Averaged(view, fixed.shape[1:], draws=draws, seed=seed or 0) if draws else view(fixed)


def _repeated(draw: FloatArray, n: int) -> FloatArray:
    """One draw (1, ...) for each of n images."""
    return np.broadcast_to(draw, (n, *draw.shape[1:])).copy()


def _mean(arrays: Sequence[FloatArray]) -> FloatArray:
    mean: FloatArray = np.mean(arrays, axis=0, dtype=np.float32)
    return mean
