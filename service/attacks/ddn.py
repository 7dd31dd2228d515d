"""Decoupled direction and norm (arXiv 1811.09600): short L2 perturbations with few gradients."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from array_api_compat import array_namespace
from pydantic import Field

from service.attacks.account import Gradients, Result
from service.attacks.norms import length, steepest
from service.attacks.parameters import Steps, at_least
from service.attacks.white_box import Array, WhiteBox, fooled, like, per_image, to_numpy

_LAST_STEP = 0.01


def ddn(
    model: WhiteBox,
    images: Array,
    labels: Array,
    *,
    steps: Steps = 100,
    init_norm: Annotated[float, Field(gt=0, le=28, description="length of the first perturbation")] = 1.0,
    gamma: Annotated[float, Field(gt=0, le=0.9, description="how fast that length shrinks and grows")] = 0.05,
    targeted: bool = False,
    rng: np.random.Generator,
) -> Result:
    """Adversarial images (N, 1, 28, 28) in [0, 1] at a small L2 distance; the untouched image where none was found.

    Each step turns the perturbation along the cross-entropy's gradient, then sets its length: a share `gamma`
    shorter than the last where that fooled the victim, longer where it did not. Random where there is no gradient.

    Departure from the paper: images are not quantised to 256 grey levels.

    Raises:
        ValueError: steps is below 1, init_norm or gamma is negative or not finite.
    """
    at_least(1, steps=steps)
    at_least(0.0, init_norm=init_norm, gamma=gamma)
    xp = array_namespace(images)
    victim = Gradients(model, images.shape[0])
    direction = -1.0 if targeted else 1.0
    farthest = to_numpy(length(xp.where(images > 0.5, images, 1 - images), "l2"))[:, 0, 0, 0]
    radius = np.minimum(np.full(images.shape[0], init_norm), farthest)
    best, best_length = images, np.full(images.shape[0], np.inf)
    perturbation = xp.zeros_like(images)
    for step in range(steps):
        logits, gradient = victim.loss_gradient(images + perturbation, labels)
        success = fooled(logits, labels, targeted=targeted)
        size = to_numpy(length(perturbation, "l2"))[:, 0, 0, 0]
        better = success & (size < best_length)
        best = xp.where(per_image(like(better, images) > 0), images + perturbation, best)
        best_length = np.where(better, size, best_length)
        radius = np.minimum(radius * np.where(success, 1 - gamma, 1 + gamma), farthest) if step else radius
        turned = perturbation + direction * _step_size(step, steps) * _steepest_or_random(gradient, rng)
        on_sphere = turned * (per_image(like(radius, images)) / xp.clip(length(turned, "l2"), 1e-12, None))
        perturbation = xp.clip(images + on_sphere, 0.0, 1.0) - images
    return victim.result(xp.clip(best, 0.0, 1.0))


def _step_size(step: int, steps: int) -> float:
    """From 1 down to 0.01 along a cosine."""
    return _LAST_STEP + (1 - _LAST_STEP) * (1 + float(np.cos(np.pi * step / steps))) / 2


def _steepest_or_random(gradient: Array, rng: np.random.Generator) -> Array:
    xp = array_namespace(gradient)
    drawn = steepest(like(rng.standard_normal(tuple(gradient.shape)), gradient), "l2")
    return xp.where(length(gradient, "linf") > 0, steepest(gradient, "l2"), drawn)
