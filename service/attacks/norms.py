"""The geometries of a budget: steepest step, projection and random start in L-inf and L2 balls, and sizes."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from array_api_compat import array_namespace, device

Array = Any
BallNorm = Literal["linf", "l2"]
Norm = Literal["linf", "l2", "l0"]
DEFAULT_EPS: dict[BallNorm, float] = {"linf": 0.15, "l2": 1.5}
MAX_EPS: dict[BallNorm, float] = {"linf": 1.0, "l2": 28.0}  # the whole range, in each norm
_TINY = 1e-12


def steepest(gradient: Array, norm: BallNorm) -> Array:
    """The direction of length 1 in `norm`, image by image, that raises the loss fastest; 0 if none does."""
    xp = array_namespace(gradient)
    if norm == "linf":
        return xp.sign(gradient)
    # Scaled by the largest entry first: squares of tiny gradients underflow in float32.
    largest = xp.max(xp.abs(gradient), axis=(1, 2, 3), keepdims=True)
    scaled = gradient / xp.where(largest > 0, largest, xp.ones_like(largest))
    return scaled / xp.clip(length(scaled, norm), _TINY, None)


def project(perturbation: Array, eps: float, norm: BallNorm) -> Array:
    """The nearest perturbation within eps in `norm`, image by image."""
    xp = array_namespace(perturbation)
    if norm == "linf":
        return xp.clip(perturbation, -eps, eps)
    size = length(perturbation, norm)
    return perturbation * xp.clip(eps / xp.clip(size, _TINY, None), None, 1.0)


def random_start(images: Array, eps: float, norm: BallNorm, rng: np.random.Generator) -> Array:
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


def into_ball(moved: Array, images: Array, eps: float, norm: BallNorm) -> Array:
    """`moved`, brought back to within eps of `images` and into [0, 1]."""
    xp = array_namespace(images)
    return xp.clip(images + project(moved - images, eps, norm), 0.0, 1.0)


def perturbation_size(images: Array, adv_images: Array, norm: Norm) -> Array:
    """The size (N,) of each image's perturbation: in units of pixels in [0, 1]; in L0 the number of changed pixels."""
    return length(adv_images - images, norm)[:, 0, 0, 0]


def length(perturbation: Array, norm: Norm) -> Array:
    """The size (N, 1, 1, 1) of each perturbation."""
    xp = array_namespace(perturbation)
    if norm == "linf":
        return xp.max(xp.abs(perturbation), axis=(1, 2, 3), keepdims=True)
    if norm == "l0":
        return xp.sum(xp.astype(perturbation != 0, perturbation.dtype), axis=(1, 2, 3), keepdims=True)
    return xp.sqrt(xp.sum(perturbation * perturbation, axis=(1, 2, 3), keepdims=True))
