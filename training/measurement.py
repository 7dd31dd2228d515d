"""What a measurement is: an attack with its budget, how many test images, and who answers. Knows no models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from service.attacks import default_step_size
from service.catalog import NO_DEFENSE

Noise = Literal["", "zero", "fixed", "drawn"]
ITERATIVE = frozenset({"pgd"})
QUERYING = frozenset({"square", "random_noise"})


@dataclass(frozen=True)
class AttackSpec:
    """One attack. `defense` is the purifier that the attacker looks through or queries, 'none' for none.

    `steps` are Square's queries. `label` says whose loss is walked: up the true label's, or down the least likely
    class's. `noise` is the latent noise that the attacker sees: zero, one fixed draw, or drawn anew at each of `eot`
    looks that a gradient is the mean of. `gradient` 'identity' goes backward as if the purifier changed nothing
    (BPDA, arXiv 1802.00420).
    """

    attack: str
    eps: float
    steps: int = 1
    restarts: int = 1
    random_start: bool = False
    label: Literal["true", "least_likely"] = "true"
    defense: str = NO_DEFENSE
    seed: int = 0
    noise: Noise = "zero"
    eot: int = 1
    gradient: Literal["exact", "identity"] = "exact"

    @property
    def step_size(self) -> float:
        """In units of pixels in [0, 1]; 0 where the attack has none."""
        if self.attack in ITERATIVE:
            return default_step_size(self.eps, self.steps)
        return self.eps if self.attack == "fgsm" else 0.0


CLEAN = AttackSpec("none", 0.0, steps=0)


@dataclass(frozen=True)
class View:
    """Who answers: the classifier alone, or behind a defense with its latent noise zero, fixed or drawn from `seed`.

    With `rounded` the images go through 8 bits a pixel first, as a PNG does.
    """

    defense: str = NO_DEFENSE
    noise: Noise = ""
    seed: int = 0
    rounded: bool = False


UNDEFENDED = View()


@dataclass(frozen=True)
class Measurement:
    """One attack on the first `n` test images, answered by each of `views`."""

    spec: AttackSpec
    n: int
    views: tuple[View, ...]


def knowledge(spec: AttackSpec, view: View) -> str:
    """What the attacker knows of the one who answers; empty where nobody attacks."""
    if spec.attack == "none":
        return ""
    if spec.attack in QUERYING:
        return "black_box"
    if spec.defense == NO_DEFENSE:
        return "oblivious"
    return "adaptive" if spec.defense == view.defense else "black_box"


def attack_name(spec: AttackSpec, view: View) -> str:
    """The attack as rows name it; `_transfer` where its images were made on another defense than the answering one."""
    name = spec.attack
    if spec.label != "true":
        name += f"_{spec.label}"
    if spec.gradient != "exact":
        name += f"_{spec.gradient}"
    if spec.defense not in {NO_DEFENSE, view.defense}:
        name += "_transfer"
    return name
