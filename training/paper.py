"""The figures of the paper's tables, accuracies in [0, 1]; to be printed beside ours, never to be mistaken for ours."""

from __future__ import annotations

from training.protocols import HEADLINE_FGSM_EPS, HEADLINE_PGD_EPS

# Tables 1(a) and 1(b): accuracy without a defence, by data set, attack and eps.
UNDEFENDED = {
    ("mnist", "fgsm"): {
        0.0: 0.9901, 0.1: 0.9099, 0.2: 0.8237, 0.3: 0.7274, 0.4: 0.5840,
        0.5: 0.4054, 0.6: 0.2648, 0.7: 0.1610, 1.0: 0.0531, 1.5: 0.0523,
    },
    ("fashion-mnist", "fgsm"): {
        0.0: 0.9122, 0.1: 0.4751, 0.2: 0.3798, 0.3: 0.2973, 0.4: 0.2376,
        0.5: 0.1889, 0.6: 0.1417, 0.7: 0.0955, 1.0: 0.0444, 1.5: 0.0412,
    },
    ("mnist", "pgd"): {0.0: 0.9922, 0.05: 0.6130, 0.1: 0.1723, 0.15: 0.0418, 0.2: 0.0181, 0.3: 0.0118},
    ("fashion-mnist", "pgd"): {0.0: 0.9206, 0.05: 0.3150, 0.1: 0.2962, 0.15: 0.2942, 0.2: 0.2940, 0.3: 0.2934},
}  # fmt: skip
# Table 2: accuracy with the auto-encoder, at one eps for each attack.
DEFENDED = {
    ("mnist", "fgsm"): 0.9209,
    ("fashion-mnist", "fgsm"): 0.7393,
    ("mnist", "pgd"): 0.9406,
    ("fashion-mnist", "pgd"): 0.7291,
}
HEADLINE_EPS = {"fgsm": HEADLINE_FGSM_EPS, "pgd": HEADLINE_PGD_EPS}
