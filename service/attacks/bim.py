"""Basic iterative method (arXiv 1607.02533), the ancestor of PGD: many small L-inf steps from the image itself."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from pydantic import Field

from service.attacks.account import Result
from service.attacks.parameters import Eps, StepSize, at_least
from service.attacks.pgd import pgd
from service.attacks.white_box import Array, WhiteBox

_GREY_LEVEL = 1 / 255


def paper_steps(eps: float) -> int:
    """The paper's number of steps: min(eps + 4, 1.25 eps), eps counted in grey levels; at least 1."""
    levels = 255 * eps
    return max(1, math.ceil(min(levels + 4, 1.25 * levels)))


def paper_step_size(eps: float, steps: int) -> float:
    """One grey level, as in the paper; more where the walk would not reach eps otherwise."""
    return max(_GREY_LEVEL, eps / steps)


def bim(
    model: WhiteBox,
    images: Array,
    labels: Array,
    *,
    eps: Eps,
    steps: Annotated[int, Field(ge=1, le=400, description="steps of the walk")] | None = None,
    step_size: StepSize | None = None,
    targeted: bool = False,
) -> Result:
    """Adversarial images (N, 1, 28, 28): in [0, 1] and within eps of `images` in L-inf. Draws nothing.

    Steps and step size are the paper's by default (`paper_steps`, `paper_step_size`).

    Raises:
        ValueError: eps or step_size is negative or not finite, or steps is below 1.
    """
    at_least(0.0, eps=eps)
    count = paper_steps(eps) if steps is None else steps
    at_least(1, steps=count)
    return pgd(
        model,
        images,
        labels,
        eps=eps,
        steps=count,
        step_size=paper_step_size(eps, count) if step_size is None else step_size,
        random_start=False,
        targeted=targeted,
        norm="linf",
        rng=np.random.default_rng(0),
    )
