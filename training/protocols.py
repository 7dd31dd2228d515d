"""What each protocol measures: attacks, budgets and how many images. See the paper's tables 1 and 2.

PGD is L-inf with 40 steps of 2.5 eps / 40 from a random start; FGSM is one step of eps. Attackers are oblivious (they
know the classifier, not the purifier) unless the spec names a defense to look through.
"""

from __future__ import annotations

from dataclasses import dataclass

from training.crafting import AttackSpec

FGSM_EPS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 1.0, 1.5)
PGD_EPS = (0.05, 0.1, 0.15, 0.2, 0.3)
HEADLINE_FGSM_EPS = 0.6
HEADLINE_PGD_EPS = 0.15
PGD_STEPS = 40
PROTOCOLS = ("paper", "adaptive", "quick")


@dataclass(frozen=True)
class Measurement:
    """One attack on the first `n` test images, judged undefended and through each of `defenses`."""

    spec: AttackSpec
    n: int
    defenses: tuple[str, ...]


def measurements(protocol: str, defenses: tuple[str, ...], *, n: int, pgd_n: int, sweep_n: int) -> list[Measurement]:
    """The measurements of a protocol for the purifiers `defenses`.

    FGSM at the headline budget is made on n images, PGD on pgd_n (it costs forty times as much), all else on sweep_n.
    """
    shipped = defenses[:1]
    fgsm = AttackSpec("fgsm", HEADLINE_FGSM_EPS)
    leaking = AttackSpec("fgsm", HEADLINE_FGSM_EPS, label="least_likely")
    adaptive = [Measurement(_pgd(HEADLINE_PGD_EPS, defense), sweep_n, ()) for defense in shipped]
    if protocol == "adaptive":
        return adaptive
    if protocol == "quick":
        few = min(n, 200)
        return [Measurement(spec, few, defenses) for spec in (fgsm, _pgd(HEADLINE_PGD_EPS))]
    return [
        Measurement(fgsm, n, defenses),
        Measurement(leaking, n, defenses),
        Measurement(_pgd(HEADLINE_PGD_EPS), pgd_n, defenses),
        *adaptive,
        *(Measurement(AttackSpec("fgsm", eps), sweep_n, shipped) for eps in FGSM_EPS if eps != HEADLINE_FGSM_EPS),
        *(Measurement(_pgd(eps), sweep_n, shipped) for eps in PGD_EPS if eps != HEADLINE_PGD_EPS),
    ]


def _pgd(eps: float, defense: str = "none") -> AttackSpec:
    return AttackSpec("pgd", eps, steps=PGD_STEPS, random_start=True, defense=defense)
