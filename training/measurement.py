"""What a measurement is: an attack with its budget, how many test images, and who answers. Knows no models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from service.attacks import ATTACKS, Norm, Plan
from service.catalog import NO_DEFENSE
from service.precision import Precision
from training import autoattack

Noise = Literal["", "zero", "fixed", "drawn"]
QUERYING = frozenset({name for name, attack in ATTACKS.items() if attack.access != "gradients"} | {"random_noise"})
_NEAREST = frozenset(name for name, attack in ATTACKS.items() if attack.aim == "distance")
# They take seconds an image: few images, in small chunks, so that many processes share them and little is lost.
SLOW = frozenset({autoattack.NAME, "lbfgs", "cw", "jsma", "one_pixel", "geoda", "hopskipjump"})
# They take a hundred gradients an image and more: seconds on a CPU, nothing on a GPU.
LONG = frozenset({"apgd_ce", "apgd_dlr", "ddn", "deepfool"})
# What an attack calls its length, of which it has one at most.
LENGTHS = ("steps", "max_queries", "generations")


@dataclass(frozen=True)
class AttackSpec:
    """One attack. `defense` is the purifier that the attacker looks through or queries, 'none' for none.

    `steps` is the length of a walk, the queries of one who asks, or generations. `eps` is in units of `norm` (in L0
    pixels); to an attack that looks for the nearest image that fools it is the radius within which finding one counts.
    What else the attack takes has its default. `label` says whose loss is walked: up the true label's, or down the
    least likely class's. `noise` is the latent noise that the attacker sees: zero, one fixed draw, or drawn anew at
    each of `eot` looks that a gradient is the mean of. `gradient` 'identity' goes backward as if the purifier changed
    nothing (BPDA, arXiv 1802.00420).
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
    norm: Norm = "linf"

    @property
    def step_size(self) -> float:
        """In units of `norm`; 0 where the attack has none."""
        if self.attack == "fgsm":
            return self.eps
        return float(self.plan().settings.get("step_size", 0.0)) if self.attack in ATTACKS else 0.0

    @property
    def is_one_direction(self) -> bool:
        """Whether one direction gives the image of every eps."""
        return self.attack == "fgsm" and self.norm == "linf"

    @property
    def finds_the_nearest(self) -> bool:
        """Whether it knows no eps, so that the images it finds serve every eps."""
        return self.attack in _NEAREST

    def plan(self) -> Plan:
        """The attack with its hyper-parameters.

        Raises:
            ValueError: one is beyond the attack's limits.
        """
        attack = ATTACKS[self.attack]  # type: ignore[index]
        own = {"eps": self.eps, "restarts": self.restarts, "random_start": self.random_start, "pixels": self.eps}
        own |= dict.fromkeys(LENGTHS, self.steps)
        return attack.plan(self.norm, {name: value for name, value in own.items() if name in attack.keywords})


CLEAN = AttackSpec("none", 0.0, steps=0)


@dataclass(frozen=True)
class View:
    """Who answers: the classifier alone, or behind a defense with its latent noise zero, fixed or drawn from `seed`.

    With `rounded` the images go through 8 bits a pixel first, as a PNG does. `precision` is the classifier's.
    """

    defense: str = NO_DEFENSE
    noise: Noise = ""
    seed: int = 0
    rounded: bool = False
    precision: Precision = "fp32"


UNDEFENDED = View()


@dataclass(frozen=True)
class Measurement:
    """One attack on the first `n` test images, answered by each of `views`.

    A row about more images will do, unless it must be `exactly` n because a check compares attacks on the same images.
    """

    spec: AttackSpec
    n: int
    views: tuple[View, ...]
    exactly: bool = False


def knowledge(spec: AttackSpec, view: View) -> str:
    """What the attacker knows of the one who answers; empty where nobody attacks."""
    if spec.attack == "none":
        return ""
    if spec.defense == NO_DEFENSE != view.defense:
        return "oblivious"
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
