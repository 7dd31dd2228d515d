"""Jacobian-based saliency map attack (arXiv 1511.07528): two pixels at a time, as few as possible."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from array_api_compat import array_namespace
from pydantic import Field

from service.attacks.account import Gradients, Result
from service.attacks.parameters import at_least
from service.attacks.white_box import Array, WhiteBox, best_other, fooled, like, one_hot, to_numpy

Floats = np.ndarray[Any, np.dtype[np.float64]]


def jsma(
    model: WhiteBox,
    images: Array,
    labels: Array,
    *,
    theta: Annotated[
        float, Field(ge=-1, le=1, description="what is added to a chosen pixel; below 0 it darkens, 0 does nothing")
    ] = 1.0,
    gamma: Annotated[float, Field(ge=0, le=1, description="share of the pixels that may be changed")] = 0.145,
    targeted: bool = False,
) -> Result:
    """Adversarial images (N, 1, 28, 28) in [0, 1] with at most a share `gamma` of pixels changed; the last try where
    none was found.

    Of all pairs of pixels the one is moved by `theta` whose slopes raise the target's logit and lower the sum of the
    others by the largest product, until the victim is fooled. Draws nothing. The slopes are those of the logits
    (JSMA-Z), since those of a sure softmax vanish.

    Departure from the paper, which is always targeted: without a target it is the runner-up of the victim's answer,
    and any wrong answer ends it.

    Raises:
        ValueError: gamma is negative or not finite.
    """
    at_least(0.0, gamma=gamma)
    xp = array_namespace(images)
    victim = Gradients(model, images.shape[0])
    adv_images = xp.asarray(images, copy=True)
    logits = victim.logits(images)
    targets = labels if targeted else best_other(logits, labels)
    aim = xp.astype(one_hot(targets, logits), images.dtype)
    rows = np.flatnonzero(~fooled(logits, labels, targeted=targeted))
    pixels = int(np.prod(images.shape[1:]))
    for _ in range(int(gamma * pixels / 2)):
        if not rows.size:
            break
        here = adv_images[rows]
        _, towards = victim.vector_jacobian(here, aim[rows], rows)
        _, others = victim.vector_jacobian(here, 1 - aim[rows], rows)
        slopes = [to_numpy(part).reshape(len(rows), -1).astype(np.float64) for part in (towards, others)]
        flat = to_numpy(here).reshape(len(rows), -1).copy()
        moved = [_move(pixels, rise, fall, theta) for pixels, rise, fall in zip(flat, *slopes, strict=True)]
        adv_images[rows] = like(flat.reshape(tuple(here.shape)), images)
        rows = rows[np.array(moved)]
        if rows.size:
            rows = rows[~fooled(victim.logits(adv_images[rows], rows), labels[rows], targeted=targeted)]
    return victim.result(adv_images)


def _move(pixels: Floats, towards: Floats, others: Floats, theta: float) -> bool:
    """Move the most salient pair of pixels in place; False where there is none."""
    free = np.flatnonzero(pixels < 1 if theta > 0 else pixels > 0)
    if free.size < 2 or theta == 0:
        return False
    direction = np.sign(theta)
    rise = direction * (towards[free][:, None] + towards[free])
    fall = direction * (others[free][:, None] + others[free])
    saliency = np.where((rise > 0) & (fall < 0), -rise * fall, 0.0)
    np.fill_diagonal(saliency, 0.0)
    first, second = np.unravel_index(saliency.argmax(), saliency.shape)
    if saliency[first, second] <= 0:
        return False
    chosen = free[[first, second]]
    pixels[chosen] = np.clip(pixels[chosen] + theta, 0.0, 1.0)
    return True
