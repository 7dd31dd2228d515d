"""DeepFool (arXiv 1511.04599): walks to the nearest boundary of the victim made linear."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from array_api_compat import array_namespace, device
from pydantic import Field

from service.attacks.account import Gradients, Result, Rows
from service.attacks.norms import BallNorm
from service.attacks.parameters import at_least
from service.attacks.white_box import Array, WhiteBox, fooled, like, to_numpy

Floats = np.ndarray[Any, np.dtype[np.float64]]
_BEYOND = 1e-3  # of logits: more than the rounding of another batch


def deepfool(
    model: WhiteBox,
    images: Array,
    labels: Array,
    *,
    steps: Annotated[int, Field(ge=1, le=200, description="steps at most; each takes a gradient per class")] = 50,
    overshoot: Annotated[float, Field(ge=0, le=1, description="share by which the boundary is overstepped")] = 0.02,
    norm: BallNorm = "l2",
) -> Result:
    """Adversarial images (N, 1, 28, 28) in [0, 1] at a small distance in `norm`; the last try where none was found.

    Untargeted: away from `labels`. Draws nothing. An image that fools the victim is left alone from then on.

    Departure from the paper: each try is clipped to [0, 1] before it is judged.

    Raises:
        ValueError: steps is below 1, or overshoot is negative or not finite.
    """
    at_least(1, steps=steps)
    at_least(0.0, overshoot=overshoot)
    xp = array_namespace(images)
    victim = Gradients(model, images.shape[0])
    adv_images, total = xp.asarray(images, copy=True), xp.zeros_like(images)
    logits = victim.logits(images)
    rows = np.flatnonzero(~fooled(logits, labels, targeted=False))
    for _ in range(steps):
        if not rows.size:
            break
        here = adv_images[rows]
        jacobian = _jacobian(victim, here, rows, classes=logits.shape[1])
        step = _step(*jacobian, to_numpy(labels[rows]), norm)
        total[rows] = total[rows] + like(step, images)
        adv_images[rows] = xp.clip(images[rows] + (1 + overshoot) * total[rows], 0.0, 1.0)
        rows = rows[~fooled(victim.logits(adv_images[rows], rows), labels[rows], targeted=False)]
    return victim.result(adv_images)


def _jacobian(victim: Gradients, images: Array, rows: Rows, classes: int) -> tuple[Floats, Floats]:
    """Logits (N, K), and the gradient of each of them by the image (N, K, C, H, W), in one batch."""
    xp = array_namespace(images)
    n = images.shape[0]
    each = xp.asarray(np.repeat(np.arange(n), classes), device=device(images))
    cotangent = like(np.tile(np.eye(classes), (n, 1)), images)
    logits, gradients = victim.vector_jacobian(xp.take(images, each, axis=0), cotangent, rows)
    return (
        to_numpy(logits)[::classes].astype(np.float64),
        to_numpy(gradients).reshape(n, classes, *images.shape[1:]).astype(np.float64),
    )


def _step(logits: Floats, jacobian: Floats, labels: Rows, norm: BallNorm) -> Floats:
    """The shortest step (N, C, H, W) to where another class's logit is the label's, by the victim's slope."""
    own = np.arange(len(logits)), labels
    normals = jacobian - jacobian[own][:, None]
    gaps = np.abs(logits - logits[own][:, None])
    dual = np.abs(normals).sum(axis=(2, 3, 4)) if norm == "linf" else np.sqrt((normals**2).sum(axis=(2, 3, 4)))
    distances = np.where(dual > 0, (gaps + _BEYOND) / np.where(dual > 0, dual, 1), np.inf)
    distances[own] = np.inf
    nearest = np.arange(len(logits)), distances.argmin(axis=1)
    reachable = np.isfinite(distances[nearest])[:, None, None, None]
    normal, size = normals[nearest], np.where(reachable, distances[nearest][:, None, None, None], 0)
    unit = np.sign(normal) if norm == "linf" else normal / np.where(reachable, dual[nearest][:, None, None, None], 1)
    step: Floats = size * unit
    return step
