"""Attacks as pure functions over the array API: the same code runs on NumPy and torch arrays.

They know no HTTP, files, ONNX or devices. Images are (N, 1, 28, 28) float32 in [0, 1].
"""

from service.attacks.fgsm import fgsm
from service.attacks.norms import Norm, perturbation_size
from service.attacks.pgd import DEFAULT_STEPS, default_step_size, effective_reach, pgd
from service.attacks.white_box import Array, WhiteBox

__all__ = [
    "DEFAULT_STEPS",
    "Array",
    "Norm",
    "WhiteBox",
    "default_step_size",
    "effective_reach",
    "fgsm",
    "perturbation_size",
    "pgd",
]
