"""Projected gradient descent (arXiv 1706.06083), untargeted and targeted, in L-inf and L2."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from array_api_compat import array_namespace
from pydantic import Field

from service.attacks.account import Gradients, Result
from service.attacks.norms import BallNorm, into_ball, steepest
from service.attacks.norms import random_start as draw_start
from service.attacks.parameters import Eps, Restarts, StepSize, at_least
from service.attacks.white_box import Array, WhiteBox, cross_entropy, per_image

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
    eps: Eps,
    steps: Annotated[int, Field(ge=1, le=200, description="steps of a walk")] = DEFAULT_STEPS,
    step_size: StepSize | None = None,
    restarts: Restarts = 1,
    random_start: Annotated[bool, Field(description="start from a random point within eps")] = True,
    targeted: bool = False,
    norm: BallNorm = "linf",
    rng: np.random.Generator,
) -> Result:
    """Adversarial images (N, 1, 28, 28): in [0, 1] and within eps of `images` in `norm`.

    Walks up the cross-entropy to `labels`, or down it where `targeted` (then `labels` are the targets), with
    steepest steps of `step_size` (default 2.5 eps / steps), projecting into the ball and the pixel range after
    each. Of several restarts each image keeps one that succeeds, and among those the one of the best loss.

    Departure from the paper: the default step size is the one of its CIFAR-10 experiments, 2.5 eps / steps,
    for every data set.

    Raises:
        ValueError: eps or step_size is negative or not finite, or steps or restarts is below 1.
    """
    at_least(0.0, eps=eps, step_size=step_size)
    at_least(1, steps=steps, restarts=restarts)
    victim = Gradients(model, images.shape[0])
    size = default_step_size(eps, steps) if step_size is None else step_size
    direction = -1.0 if targeted else 1.0
    best: Array = None
    best_score: Array = None
    for _ in range(restarts):
        adv_images = images
        if random_start:
            adv_images = into_ball(images + draw_start(images, eps, norm, rng), images, eps, norm)
        adv_images = climb(
            victim, adv_images, images, labels, eps=eps, steps=steps, step_size=direction * size, norm=norm
        )
        if restarts == 1:
            return victim.result(adv_images)
        score = _score(victim.logits(adv_images), labels, direction)
        best, best_score = _better(best, best_score, adv_images, score)
    return victim.result(best)


def climb(
    model: WhiteBox,
    start: Array,
    images: Array,
    labels: Array,
    *,
    eps: float,
    steps: int,
    step_size: float,
    norm: BallNorm = "linf",
) -> Array:
    """From `start` (N, 1, 28, 28) up the cross-entropy to `labels`, within eps of `images` and in [0, 1].

    A negative `step_size` leads down.
    """
    adv_images = start
    for _ in range(steps):
        _, gradient = model.loss_gradient(adv_images, labels)
        adv_images = into_ball(adv_images + step_size * steepest(gradient, norm), images, eps, norm)
    return adv_images


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
    return xp.where(per_image(wins), adv_images, best), xp.where(wins, score, best_score)
