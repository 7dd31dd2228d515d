"""AutoAttack (arXiv 2003.01690), the field's reference evaluation, by its authors' own code.

Four attacks one after another on the images that still stand: Auto-PGD on cross-entropy and on the targeted difference
of logits ratio, FAB and Square, with the settings of their `standard` version. The package, `pyautoattack`, is in the
development environment.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import cast

from torch import Tensor

from service.attacks.norms import into_ball
from training.errors import EvaluationError

NAME = "autoattack"
STEPS = 100
_PACKAGE = "pyautoattack"


def attack(model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, *, eps: float, seed: int) -> Tensor:
    """Adversarial images (N, 1, 28, 28) in [0, 1] and within eps in L-inf; what it could not fool is left as it was.

    Args:
        model: images to logits (N, 10), deterministic and differentiable.

    Raises:
        EvaluationError: the package is not installed.
    """
    if find_spec(_PACKAGE) is None:
        raise EvaluationError(f"{_PACKAGE} is not installed; the environment of `make test` has it")
    from pyautoattack.autoattack import AutoAttack  # noqa: PLC0415 - not in every environment

    battery = AutoAttack(model, eps=eps, norm="Linf", seed=seed, version="standard", device=images.device)
    found, _ = battery.run_standard_evaluation(images, labels, batch_size=len(images))
    return cast(Tensor, into_ball(found, images, eps, "linf"))
