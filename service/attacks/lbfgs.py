"""Box-constrained L-BFGS (arXiv 1312.6199), the first attack of all, with SciPy's L-BFGS-B."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from array_api_compat import array_namespace
from pydantic import Field

from service.attacks.account import Gradients, Result
from service.attacks.parameters import Steps, at_least
from service.attacks.white_box import Array, WhiteBox, best_other, cross_entropy, like, to_numpy

Floats = np.ndarray[Any, np.dtype[np.float64]]
_FACTOR = 10.0


def lbfgs(
    model: WhiteBox,
    images: Array,
    labels: Array,
    *,
    steps: Steps = 20,
    search_steps: Annotated[int, Field(ge=1, le=20, description="values of the trade-off that are tried")] = 8,
    initial_const: Annotated[float, Field(gt=0, le=1e6, description="the first of them")] = 0.1,
    targeted: bool = False,
) -> Result:
    """Adversarial images (N, 1, 28, 28) in [0, 1] at a small L2 distance; the untouched image where none was found.

    Minimises |perturbation|^2 + const * cross-entropy to the target within the box, `steps` iterations of L-BFGS-B
    for each const, and searches the smallest const that reaches the target: tenfold until one does, then by
    bisection of its logarithm. Draws nothing. One image after the other.

    Departures from the paper: it weighs the perturbation's length, which has no gradient at 0, and this its square; it
    is always targeted, and this leads to the runner-up of the victim's answer where there is no target, and is content
    with any class but the label.

    Raises:
        ValueError: steps or search_steps is below 1, or initial_const is negative or not finite.
    """
    at_least(1, steps=steps, search_steps=search_steps)
    at_least(0.0, initial_const=initial_const)
    xp = array_namespace(images)
    victim = Gradients(model, images.shape[0])
    targets = labels if targeted else best_other(victim.logits(images), labels)
    adv_images = xp.asarray(images, copy=True)
    for row in range(images.shape[0]):
        problem = _Problem(victim, images, targets, row, avoided=None if targeted else int(labels[row]))
        found = problem.search(initial_const, search_steps, steps)
        if found is not None:
            adv_images[row : row + 1] = like(found.reshape(1, *images.shape[1:]), images)
    return victim.result(adv_images)


class _Problem:
    """One image and its target. Keeps the nearest image seen that reaches it, or any class but `avoided`."""

    def __init__(self, victim: Gradients, images: Array, targets: Array, row: int, avoided: int | None) -> None:
        self._victim, self._rows = victim, np.array([row])
        self._image, self._target = images[row : row + 1], targets[row : row + 1]
        self._avoided = avoided
        self._pixels: Floats = to_numpy(self._image).astype(np.float64).ravel()
        self._best: Floats | None = None
        self._best_square = np.inf
        self._reached = False

    def search(self, const: float, search_steps: int, steps: int) -> Floats | None:
        from scipy.optimize import minimize  # noqa: PLC0415  # SciPy is a third of the service's imports, and few attacks need it

        low, high = 0.0, np.inf
        for _ in range(search_steps):
            self._reached = False
            minimize(
                self._loss,
                self._pixels,
                args=(const,),
                jac=True,
                method="L-BFGS-B",
                bounds=[(0.0, 1.0)] * self._pixels.size,
                options={"maxiter": steps, "maxfun": steps + 10},
            )
            low, high = (low, const) if self._reached else (const, high)
            if not np.isfinite(high):
                const *= _FACTOR
            else:
                const = float(np.sqrt(low * high)) if low > 0 else const / _FACTOR
        return self._best

    def _loss(self, pixels: Floats, const: float) -> tuple[float, Floats]:
        adv_image = like(pixels.reshape(tuple(self._image.shape)), self._image)
        logits, gradient = self._victim.loss_gradient(adv_image, self._target, self._rows)
        scores = to_numpy(logits).astype(np.float64)
        difference = pixels - self._pixels
        square = float(difference @ difference)
        answer = int(scores[0].argmax())
        if answer == int(self._target[0]) if self._avoided is None else answer != self._avoided:
            self._reached = True
            if square < self._best_square:
                self._best, self._best_square = pixels.copy(), square
        loss = float(cross_entropy(scores, to_numpy(self._target))[0])
        by_pixels = to_numpy(gradient).astype(np.float64).ravel()
        return square + const * loss, 2 * difference + const * by_pixels
