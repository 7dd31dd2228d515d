"""Fast gradient sign method (arXiv 1412.6572): PGD with one step of full length from the image itself."""

from __future__ import annotations

import numpy as np

from service.attacks.account import Result
from service.attacks.norms import BallNorm
from service.attacks.parameters import Eps
from service.attacks.pgd import pgd
from service.attacks.white_box import Array, WhiteBox


def fgsm(
    model: WhiteBox,
    images: Array,
    labels: Array,
    *,
    eps: Eps,
    targeted: bool = False,
    norm: BallNorm = "linf",
) -> Result:
    """Adversarial images (N, 1, 28, 28): in [0, 1] and within eps of `images` in `norm`.

    One step up the cross-entropy to `labels`, or down it where `targeted`. Draws nothing.

    Raises:
        ValueError: eps is negative or not finite.
    """
    return pgd(
        model,
        images,
        labels,
        eps=eps,
        steps=1,
        step_size=eps,
        random_start=False,
        targeted=targeted,
        norm=norm,
        rng=np.random.default_rng(0),
    )
