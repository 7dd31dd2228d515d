"""Attacks as pure functions over the array API: the same code runs on NumPy and torch arrays.

They know no HTTP, files, ONNX or devices. Images are (N, 1, 28, 28) float32 in [0, 1]. All are called alike:
`attack(model, images, labels, *, eps or the like, targeted, norm, rng)`, less the keywords that mean nothing to one,
and give a `Result`. `ATTACKS` knows them by name.
"""

from service.attacks.account import Result
from service.attacks.fgsm import fgsm
from service.attacks.norms import BallNorm, Norm, perturbation_size
from service.attacks.pgd import default_step_size, effective_reach, pgd
from service.attacks.registry import ATTACKS, Access, Aim, Attack, Method, Parameter, Plan
from service.attacks.white_box import Array, BlackBox, Cotangent, WhiteBox

__all__ = [
    "ATTACKS",
    "Access",
    "Aim",
    "Array",
    "Attack",
    "BallNorm",
    "BlackBox",
    "Cotangent",
    "Method",
    "Norm",
    "Parameter",
    "Plan",
    "Result",
    "WhiteBox",
    "default_step_size",
    "effective_reach",
    "fgsm",
    "perturbation_size",
    "pgd",
]
