"""The two geometries of a budget: steepest step, projection and random start in L-inf and L2 balls."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from array_api_compat import array_namespace, device

Array = Any
Norm = Literal["linf", "l2"]
_TINY = 1e-12


def steepest(gradient: Array, norm: Norm) -> Array:
    """The direction of length 1 in `norm`, image by image, that raises the loss fastest; 0 if none does."""
    xp = array_namespace(gradient)
    if norm == "linf":
        return xp.sign(gradient)
    # Scaled by the largest entry first: squares of tiny gradients underflow in float32.
    largest = xp.max(xp.abs(gradient), axis=(1, 2, 3), keepdims=True)
    scaled = gradient / xp.where(largest > 0, largest, xp.ones_like(largest))
    return scaled / xp.clip(_length(scaled, norm), _TINY, None)


def project(perturbation: Array, eps: float, norm: Norm) -> Array:
    """The nearest perturbation within eps in `norm`, image by image."""
    xp = array_namespace(perturbation)
    if norm == "linf":
        return xp.clip(perturbation, -eps, eps)
    length = _length(perturbation, norm)
    return perturbation * xp.clip(eps / xp.clip(length, _TINY, None), None, 1.0)


def random_start(images: Array, eps: float, norm: Norm, rng: np.random.Generator) -> Array:
    """Perturbations drawn uniformly from the ball of radius eps; the same for NumPy and torch arrays."""
    xp = array_namespace(images)
    if norm == "linf":
        drawn = rng.uniform(-eps, eps, size=tuple(images.shape))
    else:
        direction = rng.standard_normal(size=tuple(images.shape))
        dimensions = direction[0].size
        radius = eps * rng.uniform(size=(len(direction), 1, 1, 1)) ** (1 / dimensions)
        drawn = direction / np.sqrt(np.sum(direction**2, axis=(1, 2, 3), keepdims=True)) * radius
    return xp.asarray(drawn.astype(np.float32), device=device(images))


def perturbation_size(images: Array, adv_images: Array, norm: Norm) -> Array:
    """The size (N,) of each image's perturbation in `norm`, in units of pixels in [0, 1]."""
    return _length(adv_images - images, norm)[:, 0, 0, 0]


def _length(perturbation: Array, norm: Norm) -> Array:
    xp = array_namespace(perturbation)
    if norm == "linf":
        return xp.max(xp.abs(perturbation), axis=(1, 2, 3), keepdims=True)
    return xp.sqrt(xp.sum(perturbation * perturbation, axis=(1, 2, 3), keepdims=True))
