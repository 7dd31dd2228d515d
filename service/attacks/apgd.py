"""Auto-PGD (arXiv 2003.01690): PGD with momentum that sets its own step size, up two losses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from service.attacks.account import Gradients, Result
from service.attacks.dlr import dlr, dlr_cotangent
from service.attacks.norms import BallNorm, into_ball, random_start, steepest
from service.attacks.parameters import Eps, Restarts, Steps, at_least
from service.attacks.white_box import Array, WhiteBox, best_other, cross_entropy, fooled, like, per_image, to_numpy

Loss = Callable[[Array, np.ndarray[Any, Any]], tuple[Array, np.ndarray[Any, Any], np.ndarray[Any, Any]]]
_MOMENTUM = 0.75
_ENOUGH_PROGRESS = 0.75


def apgd_ce(
    model: WhiteBox,
    images: Array,
    labels: Array,
    *,
    eps: Eps,
    steps: Steps = 100,
    restarts: Restarts = 1,
    targeted: bool = False,
    norm: BallNorm = "linf",
    rng: np.random.Generator,
) -> Result:
    """Adversarial images (N, 1, 28, 28): in [0, 1] and within eps of `images` in `norm`, up the cross-entropy.

    An image that fools the victim is not walked again. Of all points met, each image keeps one that fools, and among
    those the one of the best loss.

    Raises:
        ValueError: eps is negative or not finite, or steps or restarts is below 1.
    """
    sign = -1.0 if targeted else 1.0
    victim = Gradients(model, images.shape[0])

    def loss(adv_images: Array, rows: np.ndarray[Any, Any]) -> tuple[Array, np.ndarray[Any, Any], Any]:
        logits, gradient = victim.loss_gradient(adv_images, labels[rows], rows)
        hit = fooled(logits, labels[rows], targeted=targeted)
        return sign * gradient, sign * to_numpy(cross_entropy(logits, labels[rows])), hit

    at_least(0.0, eps=eps)
    at_least(1, steps=steps, restarts=restarts)
    return victim.result(_restarted(loss, images, eps, steps, restarts, norm, rng))


def apgd_dlr(
    model: WhiteBox,
    images: Array,
    labels: Array,
    *,
    eps: Eps,
    steps: Steps = 100,
    restarts: Restarts = 1,
    targeted: bool = False,
    norm: BallNorm = "linf",
    rng: np.random.Generator,
) -> Result:
    """As `apgd_ce`, up the difference of logits ratio, which no scaling of the logits changes.

    Where `targeted`, away from the victim's own answer (its best one beside the target) towards the target.

    Raises:
        ValueError: as `apgd_ce`; or the victim knows fewer classes than the loss needs, 3 (targeted: 4).
    """
    at_least(0.0, eps=eps)
    at_least(1, steps=steps, restarts=restarts)
    victim = Gradients(model, images.shape[0])
    away = best_other(victim.logits(images), labels) if targeted else labels

    def loss(adv_images: Array, rows: np.ndarray[Any, Any]) -> tuple[Array, np.ndarray[Any, Any], Any]:
        pair = away[rows], labels[rows] if targeted else None
        logits, gradient = victim.vector_jacobian(adv_images, lambda logits: dlr_cotangent(logits, *pair), rows)
        return gradient, to_numpy(dlr(logits, *pair)), fooled(logits, labels[rows], targeted=targeted)

    return victim.result(_restarted(loss, images, eps, steps, restarts, norm, rng))


def checkpoints(steps: int) -> list[int]:
    """The steps after which the step size is judged: at 0, .22, .41, ... of all, at ever shorter intervals."""
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    # Rounded, so that .57 x 100 is 57 and not a little more.
    return [math.ceil(round(share * steps, 6)) for share in shares if share <= 1]


def _restarted(
    loss: Loss, images: Array, eps: float, steps: int, restarts: int, norm: BallNorm, rng: np.random.Generator
) -> Array:
    xp = array_namespace(images)
    adv_images = xp.asarray(images, copy=True)
    scores = np.full(images.shape[0], -np.inf)
    rows = np.arange(images.shape[0])
    for _ in range(restarts):
        start = into_ball(images[rows] + random_start(images[rows], eps, norm, rng), images[rows], eps, norm)
        walk = _Walk(loss, images[rows], rows, eps, norm)
        found, score = walk.run(start, steps)
        better = np.flatnonzero(score > scores[rows])
        adv_images[rows[better]] = found[better]
        scores[rows[better]] = score[better]
        rows = rows[~np.isfinite(score) | (score < _FOOLED)]
        if not rows.size:
            break
    return adv_images


_FOOLED = 1e6  # added to the loss of an image that fools: more than any loss


class _Walk:
    """One walk of some images. `best`: where the loss was highest; `kept`: what fools, then where it was highest."""

    def __init__(self, loss: Loss, images: Array, rows: np.ndarray[Any, Any], eps: float, norm: BallNorm) -> None:
        self._loss, self._images, self._rows, self._eps, self._norm = loss, images, rows, eps, norm
        self._size = np.full(len(rows), 2 * eps)

    def run(self, start: Array, steps: int) -> tuple[Array, np.ndarray[Any, Any]]:
        """The images to keep, and their scores: the loss, and far more where they fool."""
        xp = array_namespace(start)
        here = before = start
        gradient, value, hit = self._loss(here, self._rows)
        best, best_gradient, highest = here, gradient, value
        kept, score = here, value + _FOOLED * hit
        rises, size_before, highest_before = np.zeros(len(value)), self._size.copy(), value
        marks = checkpoints(steps)
        for step in range(1, steps + 1):
            here, before = self._step(here, before, gradient, first=step == 1), here
            gradient, new_value, hit = self._loss(here, self._rows)
            rises += new_value > value
            value = new_value
            up = _mask(value > highest, here)
            best, best_gradient = xp.where(up, here, best), xp.where(up, gradient, best_gradient)
            highest = np.maximum(highest, value)
            new_score = value + _FOOLED * hit
            kept, score = xp.where(_mask(new_score > score, here), here, kept), np.maximum(score, new_score)
            if step in marks[1:]:
                interval = step - marks[marks.index(step) - 1]
                stuck = (self._size == size_before) & (highest == highest_before)
                halved = (rises < _ENOUGH_PROGRESS * interval) | stuck
                size_before, highest_before, rises = self._size.copy(), highest, np.zeros(len(value))
                self._size[halved] /= 2
                back = _mask(halved, here)
                here, gradient = xp.where(back, best, here), xp.where(back, best_gradient, gradient)
                value = np.where(halved, highest, value)
        return kept, score

    def _step(self, here: Array, before: Array, gradient: Array, *, first: bool) -> Array:
        size = per_image(like(self._size, here))
        moved = into_ball(here + size * steepest(gradient, self._norm), self._images, self._eps, self._norm)
        if first:
            return moved
        blended = here + _MOMENTUM * (moved - here) + (1 - _MOMENTUM) * (here - before)
        return into_ball(blended, self._images, self._eps, self._norm)


def _mask(chosen: np.ndarray[Any, Any], images: Array) -> Array:
    return per_image(like(chosen, images) > 0)
