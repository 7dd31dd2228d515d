"""Every attack by name: the one source for the endpoint, its validation, its documentation and the README's table.

The hyper-parameters of an attack, their types, limits, defaults and meanings, are read off its function's signature.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_type_hints

import numpy as np
from pydantic import TypeAdapter, ValidationError

from service.attacks.account import Result
from service.attacks.apgd import apgd_ce, apgd_dlr
from service.attacks.bim import bim, paper_step_size, paper_steps
from service.attacks.cw import cw
from service.attacks.ddn import ddn
from service.attacks.deepfool import deepfool
from service.attacks.fgsm import fgsm
from service.attacks.geoda import geoda
from service.attacks.hopskipjump import hopskipjump
from service.attacks.jsma import jsma
from service.attacks.lbfgs import lbfgs
from service.attacks.norms import DEFAULT_EPS, MAX_EPS, Norm
from service.attacks.one_pixel import one_pixel
from service.attacks.pgd import default_step_size, effective_reach, pgd
from service.attacks.square import square
from service.attacks.white_box import Array, BlackBox

Method = Literal[
    "fgsm", "bim", "pgd", "apgd_ce", "apgd_dlr", "lbfgs", "jsma", "cw", "ddn", "deepfool",
    "one_pixel", "square", "geoda", "hopskipjump",
]  # fmt: skip
Access = Literal["gradients", "scores", "decisions"]
Aim = Literal["budget", "distance"]
Value = bool | int | float
_NOT_SETTINGS = {"model", "images", "labels", "targeted", "norm", "rng"}
# One request is not to ask for more of these in all: gradients, gradients, images.
_PRODUCTS = {("steps", "restarts"): 2000, ("steps", "search_steps"): 2000, ("population", "generations"): 10_000}


@dataclass(frozen=True)
class Parameter:
    """A hyper-parameter: its JSON type, limits (None: there is none), default (None: depends) and meaning."""

    name: str
    type: str
    minimum: float | None
    maximum: float | None
    above_minimum: bool
    default: Value | None
    description: str
    adapter: TypeAdapter[Value | None]

    def in_norm(self, norm: Norm) -> Parameter:
        """The same, where it is a length, with the limits and the default of its norm."""
        if norm == "l0" or self.name not in {"eps", "step_size"}:
            return self
        default = DEFAULT_EPS[norm] if self.name == "eps" else self.default
        maximum = MAX_EPS[norm] if self.maximum is None else min(self.maximum, MAX_EPS[norm])
        return replace(self, maximum=maximum, default=default)

    @property
    def allowed(self) -> str:
        """Its limits in words."""
        if self.type == "boolean":
            return "true or false"
        return f"{'above ' if self.above_minimum else ''}{self.minimum:g} to {self.maximum:g}"


@dataclass(frozen=True)
class Plan:
    """An attack with every hyper-parameter that it takes."""

    attack: Attack
    norm: Norm
    settings: Mapping[str, Value]

    @property
    def reach(self) -> float | None:
        """How far it can lead, in `norm`: eps, or less where steps x step_size falls short; None without an eps."""
        if "eps" not in self.settings:
            return None
        eps = self.settings["eps"]
        if "step_size" not in self.settings:
            return eps
        return effective_reach(eps, int(self.settings["steps"]), self.settings["step_size"])

    def run(self, model: BlackBox, images: Array, labels: Array, *, targeted: bool = False, seed: int = 0) -> Result:
        """Attack images (N, 1, 28, 28) away from `labels`, or towards them where `targeted`.

        Raises:
            ValueError: this attack has no targeted form, or a hyper-parameter has no meaning.
        """
        options = {"norm": self.norm, "targeted": targeted, "rng": np.random.default_rng(seed)}
        if targeted and not self.attack.can_be_targeted:
            raise ValueError(f"method={self.attack.name} has no targeted form; allowed: no target")
        taken = {name: value for name, value in options.items() if name in self.attack.keywords}
        return self.attack.function(model, images, labels, **taken, **self.settings)


@dataclass(frozen=True)
class Attack:
    """What is known of an attack.

    `access`: what it must see of the victim. `aim`: the worst image within a budget, or the nearest that fools.
    `norms`: the default first. `checked_against`: the implementations that the tests compare it with.
    """

    name: Method
    function: Callable[..., Result]
    access: Access
    aim: Aim
    norms: tuple[Norm, ...]
    title: str
    arxiv: str
    checked_against: str

    @cached_property
    def keywords(self) -> frozenset[str]:
        """Every keyword that the function takes."""
        return frozenset(inspect.signature(self.function).parameters)

    @property
    def can_be_targeted(self) -> bool:
        """Whether it can lead to a class of choice."""
        return "targeted" in self.keywords

    def parameters(self, norm: Norm | None = None) -> tuple[Parameter, ...]:
        """Its hyper-parameters in a norm (by default its first), in the order of its signature."""
        chosen = self.norms[0] if norm is None else norm
        return tuple(parameter.in_norm(chosen) for parameter in self._parameters)

    @cached_property
    def _parameters(self) -> tuple[Parameter, ...]:
        hints = get_type_hints(self.function, include_extras=True)
        signature = inspect.signature(self.function).parameters
        return tuple(
            _parameter(name, hints[name], signature[name].default) for name in signature if name not in _NOT_SETTINGS
        )

    def plan(self, norm: Norm | None = None, given: Mapping[str, Any] | None = None) -> Plan:
        """The attack with the given hyper-parameters, numbers or their spelling, and defaults for the others.

        Raises:
            ValueError: one is unknown, not used by this attack, or beyond its limits.
        """
        chosen = self.norms[0] if norm is None else norm
        if chosen not in self.norms:
            raise ValueError(f"norm is {chosen!r} with method={self.name}; allowed: {', '.join(self.norms)}")
        known = {parameter.name: parameter for parameter in self.parameters(chosen)}
        settings = {name: parameter.default for name, parameter in known.items()}
        for name, value in (given or {}).items():
            if name not in known:
                allowed = ", ".join(f"{parameter.name} ({parameter.allowed})" for parameter in known.values())
                raise ValueError(f"{_quoted(name)} is no parameter of method={self.name}; allowed: {allowed}")
            settings[name] = self._parsed(known[name], value, chosen)
        return Plan(self, chosen, self._completed(settings))

    def _parsed(self, parameter: Parameter, value: Any, norm: Norm) -> Value:
        # Text must be in digits alone: pydantic would read 1.0 and 1_0 too, as 1 and 10.
        loose = parameter.type == "integer" and isinstance(value, str) and not (value.isascii() and value.isdecimal())
        try:
            parsed = parameter.adapter.validate_python(value)
            if not (loose or parsed is None) and (parameter.maximum is None or parsed <= parameter.maximum):
                # Adding 0.0 makes 0.0 of -0.0, which passes for a limit of 0 and turns [-eps, eps] about.
                return parsed + 0.0 if isinstance(parsed, float) else parsed
        except ValidationError:
            pass
        where = f"method={self.name} and norm={norm}"
        raise ValueError(f"{parameter.name} is {_quoted(value)} with {where}; allowed: {parameter.allowed}")

    def _completed(self, settings: Mapping[str, Value | None]) -> dict[str, Value]:
        complete = {name: value for name, value in settings.items() if value is not None}
        for names, most in _PRODUCTS.items():
            values = [complete[name] for name in names if name in complete]
            if len(values) == len(names) and math.prod(values) > most:
                found = f"{' x '.join(names)} is {' x '.join(map(str, values))} = {math.prod(values)}"
                raise ValueError(f"{found} with method={self.name}; allowed: at most {most}")
        for name, default in _DERIVED.get(self.name, {}).items():
            complete.setdefault(name, default(complete))
        return complete


def _parameter(name: str, hint: Any, default: Any) -> Parameter:
    adapter = TypeAdapter(hint)
    schema = adapter.json_schema()
    schema = schema | next((kind for kind in schema.get("anyOf", ()) if kind["type"] != "null"), {})
    above = schema.get("exclusiveMinimum")
    return Parameter(
        name=name,
        type=schema["type"],
        minimum=schema.get("minimum", above),
        maximum=schema.get("maximum", schema.get("exclusiveMaximum")),
        above_minimum=above is not None,
        default=None if default is inspect.Parameter.empty else default,
        description=schema["description"],
        adapter=adapter,
    )


def _quoted(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 3] + "..."


_LONGEST_QUOTE = 80
# Defaults that depend on other values.
_DERIVED: Mapping[str, Mapping[str, Callable[[Mapping[str, Value]], Value]]] = {
    "pgd": {"step_size": lambda used: default_step_size(used["eps"], int(used["steps"]))},
    "bim": {
        "steps": lambda used: paper_steps(used["eps"]),
        "step_size": lambda used: paper_step_size(used["eps"], int(used["steps"])),
    },
}
_BALLS: tuple[Norm, ...] = ("linf", "l2")
_L2_FIRST: tuple[Norm, ...] = ("l2", "linf")
_ALL = (
    Attack("fgsm", fgsm, "gradients", "budget", _BALLS, "Fast gradient sign method", "1412.6572", "Foolbox"),
    Attack("bim", bim, "gradients", "budget", ("linf",), "Basic iterative method", "1607.02533", "Foolbox"),
    Attack("pgd", pgd, "gradients", "budget", _BALLS, "Projected gradient descent", "1706.06083", "Foolbox"),
    Attack("apgd_ce", apgd_ce, "gradients", "budget", _BALLS, "Auto-PGD, cross-entropy", "2003.01690", "AutoAttack"),
    Attack("apgd_dlr", apgd_dlr, "gradients", "budget", _BALLS, "Auto-PGD, logits ratio", "2003.01690", "AutoAttack"),
    Attack("lbfgs", lbfgs, "gradients", "distance", ("l2",), "Box-constrained L-BFGS", "1312.6199", "closed form, DDN"),
    Attack("jsma", jsma, "gradients", "distance", ("l0",), "Saliency map attack", "1511.07528", "ART"),
    Attack("cw", cw, "gradients", "distance", ("l2",), "Carlini and Wagner", "1608.04644", "Foolbox"),
    Attack("ddn", ddn, "gradients", "distance", ("l2",), "Decoupled direction and norm", "1811.09600", "Foolbox"),
    Attack("deepfool", deepfool, "gradients", "distance", _L2_FIRST, "DeepFool", "1511.04599", "Foolbox"),
    Attack("one_pixel", one_pixel, "scores", "budget", ("l0",), "One pixel", "1710.08864", "exhaustive search"),
    Attack("square", square, "scores", "budget", _BALLS, "Square attack", "1912.00049", "AutoAttack"),
    Attack("geoda", geoda, "decisions", "distance", _L2_FIRST, "GeoDA", "2003.06468", "ART"),
    Attack("hopskipjump", hopskipjump, "decisions", "distance", _L2_FIRST, "HopSkipJump", "1904.02144", "ART"),
)
ATTACKS: Mapping[Method, Attack] = {attack.name: attack for attack in _ALL}


def table() -> str:
    """The attacks as the README's table, in Markdown."""
    lines = [
        "| method | attack | finds | norms | sees | targeted | paper | checked against |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for attack in ATTACKS.values():
        finds = "the worst within eps" if "eps" in attack.keywords else "the nearest that fools"
        finds = "a change of few pixels" if attack.norms == ("l0",) else finds
        cells = (
            f"`{attack.name}`",
            attack.title,
            finds,
            ", ".join(attack.norms),
            attack.access,
            "yes" if attack.can_be_targeted else "no",
            f"[{attack.arxiv}](https://arxiv.org/abs/{attack.arxiv})",
            attack.checked_against,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
