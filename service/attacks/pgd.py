"""Projected gradient descent (arXiv 1706.06083), untargeted and targeted, in L-inf and L2."""

from __future__ import annotations

import numpy as np
from array_api_compat import array_namespace

from service.attacks.norms import Norm, project, steepest
from service.attacks.norms import random_start as draw_start
from service.attacks.white_box import Array, WhiteBox, cross_entropy

DEFAULT_STEPS = 40
_REACH = 2.5


def default_step_size(eps: float, steps: int) -> float:
    """2.5 eps / steps, as Madry et al.: the walk can cross the ball with something to spare."""
    return _REACH * eps / steps


def effective_reach(eps: float, steps: int, step_size: float) -> float:
    """How far the gradient can lead: less than eps where steps x step_size falls short.

    A random start displaces the image by up to eps more, but in no direction, thus it does not count.
    """
    return min(eps, steps * step_size)


def pgd(
    model: WhiteBox,
    images: Array,
    labels: Array,
    *,
    eps: float,
    steps: int = DEFAULT_STEPS,
    step_size: float | None = None,
    restarts: int = 1,
    random_start: bool = True,
    targeted: bool = False,
    norm: Norm = "linf",
    rng: np.random.Generator,
) -> Array:
    """Adversarial images (N, 1, 28, 28): in [0, 1] and within eps of `images` in `norm`.

    Walks up the cross-entropy to `labels`, or down it where `targeted` (then `labels` are the targets), with
    steepest steps of `step_size` (default 2.5 eps / steps), projecting into the ball and the pixel range after
    each. Of several restarts each image keeps one that succeeds, and among those the one of the best loss.

    Departure from the paper: the default step size is the one of its CIFAR-10 experiments, 2.5 eps / steps,
    for every data set.

    Raises:
        ValueError: eps or step_size is negative or not finite, or steps or restarts is below 1.
    """
    _check(eps, steps, step_size, restarts)
    size = default_step_size(eps, steps) if step_size is None else step_size
    direction = -1.0 if targeted else 1.0
    best: Array = None
    best_score: Array = None
    for _ in range(restarts):
        adv_images = _start(images, eps, norm, rng) if random_start else images
        for _ in range(steps):
            _, gradient = model.loss_gradient(adv_images, labels)
            moved = adv_images + direction * size * steepest(gradient, norm)
            adv_images = _into_ball(moved, images, eps, norm)
        if restarts == 1:
            return adv_images
        score = _score(model.logits(adv_images), labels, direction)
        best, best_score = _better(best, best_score, adv_images, score)
    return best


def _check(eps: float, steps: int, step_size: float | None, restarts: int) -> None:
    for name, value in (("eps", eps), ("step_size", step_size)):
        if value is not None and not (np.isfinite(value) and value >= 0):
            raise ValueError(f"{name} is {value}; allowed: a finite number of at least 0")
    for name, count in (("steps", steps), ("restarts", restarts)):
        if count < 1:
            raise ValueError(f"{name} is {count}; allowed: a whole number of at least 1")


def _start(images: Array, eps: float, norm: Norm, rng: np.random.Generator) -> Array:
    return _into_ball(images + draw_start(images, eps, norm, rng), images, eps, norm)


def _into_ball(moved: Array, images: Array, eps: float, norm: Norm) -> Array:
    xp = array_namespace(images)
    return xp.clip(images + project(moved - images, eps, norm), 0.0, 1.0)


def _score(logits: Array, labels: Array, direction: float) -> Array:
    """Higher is better for the attacker: success first, then the loss."""
    xp = array_namespace(logits)
    hit = xp.argmax(logits, axis=1) == labels
    success = hit if direction < 0 else ~hit
    # A cross-entropy of a correct answer is at most log 10, of a float32 softmax at most a few hundred.
    return direction * cross_entropy(logits, labels) + xp.where(success, 1e4, 0.0)


def _better(best: Array, best_score: Array, adv_images: Array, score: Array) -> tuple[Array, Array]:
    if best is None:
        return adv_images, score
    xp = array_namespace(score)
    wins = score > best_score
    return xp.where(wins[:, None, None, None], adv_images, best), xp.where(wins, score, best_score)
