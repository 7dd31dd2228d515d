"""One attack on one image, run and judged: what it did to the answer, and what the purifier made of it.

Knows no HTTP. The purifier's noise is zero throughout, as in a classification without a seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from service import images as pictures
from service.attacks import (
    DEFAULT_STEPS,
    Norm,
    WhiteBox,
    default_step_size,
    effective_reach,
    fgsm,
    perturbation_size,
    pgd,
)
from service.catalog import NO_DEFENSE, Catalog, FloatArray
from service.errors import ParameterError
from service.latency import Stopwatch
from service.prediction import Defense, Prediction, predict

Method = Literal["fgsm", "pgd"]
Target = Literal["classifier", "pipeline"]
Knowledge = Literal["oblivious", "adaptive"]
MAX_TOTAL_STEPS = 1000
MAX_EPS: dict[Norm, float] = {"linf": 1.0, "l2": 28.0}
DEFAULT_EPS: dict[Norm, float] = {"linf": 0.15, "l2": 1.5}


@dataclass(frozen=True)
class Walk:
    """How the attack moves: FGSM is one step of length eps from the image itself."""

    method: Method
    norm: Norm
    eps: float
    steps: int
    step_size: float
    restarts: int
    random_start: bool
    seed: int

    @property
    def reach(self) -> float:
        """How far the gradient can lead this walk, in `norm`; a random start does not count."""
        return effective_reach(self.eps, self.steps, self.step_size)

    def run(self, model: WhiteBox, image: FloatArray, label: int, *, targeted: bool) -> FloatArray:
        """The adversarial image (1, 1, 28, 28): in [0, 1] and within eps of `image` in `norm`."""
        labels = np.array([label], dtype=np.int64)
        adv_image: FloatArray
        if self.method == "fgsm":
            adv_image = fgsm(model, image, labels, eps=self.eps, targeted=targeted, norm=self.norm)
            return adv_image
        adv_image = pgd(
            model,
            image,
            labels,
            eps=self.eps,
            steps=self.steps,
            step_size=self.step_size,
            restarts=self.restarts,
            random_start=self.random_start,
            targeted=targeted,
            norm=self.norm,
            rng=np.random.default_rng(self.seed),
        )
        return adv_image


def walk(
    method: Method,
    *,
    norm: Norm = "linf",
    eps: float | None = None,
    steps: int | None = None,
    step_size: float | None = None,
    restarts: int | None = None,
    random_start: bool | None = None,
    seed: int = 0,
) -> Walk:
    """A walk with the defaults filled in.

    Raises:
        ParameterError: eps or step_size is above the norm's limit, steps x restarts above 1000, or FGSM is
            given another walk than its one step.
    """
    radius = DEFAULT_EPS[norm] if eps is None else eps
    longest = MAX_EPS[norm]
    if radius > longest:
        raise ParameterError(f"eps is {radius} with norm={norm}; allowed: 0 to {longest:g}")
    if step_size is not None and step_size > longest:
        raise ParameterError(f"step_size is {step_size} with norm={norm}; allowed: above 0, at most {longest:g}")
    if method == "fgsm":
        _check_fgsm(radius, steps, step_size, restarts, random_start)
        return Walk("fgsm", norm, radius, 1, radius, 1, False, seed)
    count, times = steps or DEFAULT_STEPS, restarts or 1
    if count * times > MAX_TOTAL_STEPS:
        raise ParameterError(
            f"steps x restarts is {count} x {times} = {count * times}; allowed: at most {MAX_TOTAL_STEPS}"
        )
    size = default_step_size(radius, count) if step_size is None else step_size
    return Walk("pgd", norm, radius, count, size, times, random_start is not False, seed)


def _check_fgsm(
    eps: float, steps: int | None, step_size: float | None, restarts: int | None, random_start: bool | None
) -> None:
    given = {"steps": steps, "step_size": step_size, "restarts": restarts, "random_start": random_start}
    fixed = {"steps": 1, "step_size": eps, "restarts": 1, "random_start": False}
    wrong = [name for name, value in given.items() if value is not None and value != fixed[name]]
    if wrong:
        found = ", ".join(f"{name} is {str(given[name]).lower()}" for name in wrong)
        allowed = ", ".join(f"{name}={str(fixed[name]).lower()}" for name in wrong)
        raise ParameterError(
            f"{found} with method=fgsm; allowed with it: {allowed}, or nothing of these. "
            "Use method=pgd to walk in several steps"
        )


@dataclass(frozen=True)
class Goal:
    """What the attack is run against, and for: away from `label`, or to `target_label`.

    `label` None stands for the classifier's own answer to the image.
    """

    dataset: str
    defense: str
    target: Target
    label: int | None = None
    target_label: int | None = None

    @property
    def knowledge(self) -> Knowledge:
        """What the attacker sees: the classifier alone, or the purifier too."""
        return "oblivious" if self.target == "classifier" else "adaptive"

    def victim(self, catalog: Catalog) -> WhiteBox:
        """The attacked model with its gradient.

        Raises:
            ParameterError: the data set or the defense is unknown, or there is no pipeline to attack.
        """
        if self.target == "pipeline" and self.defense == NO_DEFENSE:
            raise ParameterError("target=pipeline needs a purifier, and defense is 'none'; allowed: target=classifier")
        return catalog.white_box(self.dataset, NO_DEFENSE if self.target == "classifier" else self.defense)


@dataclass(frozen=True)
class View:
    """One picture of an attempt, (1, 1, 28, 28), and what the classifier says of it."""

    image: FloatArray
    prediction: Prediction


@dataclass(frozen=True)
class Outcome:
    """Both answers to an adversarial image.

    `success`: the attacked model was fooled as intended; `recovered`: the defended answer is `label`.
    """

    adversarial: View
    purified: View
    success: bool
    recovered: bool


@dataclass(frozen=True)
class Attempt:
    """What an attack did, with the adversarial image as computed and as its 8-bit PNG carries it."""

    label: int
    clean: View
    defended_clean: View
    as_computed: Outcome
    after_rounding: Outcome
    linf: float
    l2: float
    models: dict[str, str]


def attempt(catalog: Catalog, image: FloatArray, goal: Goal, route: Walk, stopwatch: Stopwatch) -> Attempt:
    """Attack one image (1, 1, 28, 28) and judge the result.

    Raises:
        ParameterError: the data set, defense or target is not to be had, or `target_label` is the label.
    """
    defense = Defense.of(catalog, goal.dataset, goal.defense)
    victim = goal.victim(catalog)
    with stopwatch.stage("classify"):
        label = _label(defense, image, goal)
    with stopwatch.stage("attack"):
        aim = label if goal.target_label is None else goal.target_label
        adv_image = route.run(victim, image, aim, targeted=goal.target_label is not None)
    clean, computed, rounded = _look(defense, [image, adv_image, pictures.rounded(adv_image)], stopwatch)
    return Attempt(
        label=label,
        clean=clean[0],
        defended_clean=clean[1],
        as_computed=_judge(*computed, goal, label),
        after_rounding=_judge(*rounded, goal, label),
        linf=float(perturbation_size(image, adv_image, "linf")[0]),
        l2=float(perturbation_size(image, adv_image, "l2")[0]),
        models=defense.models,
    )


def _label(defense: Defense, image: FloatArray, goal: Goal) -> int:
    label = predict(defense.classifier, image)[0].label if goal.label is None else goal.label
    if goal.target_label == label:
        source = "what the classifier answers already" if goal.label is None else "the label itself"
        raise ParameterError(f"target_label is {goal.target_label}, which is {source}; allowed: another class")
    return label


def _look(defense: Defense, images: list[FloatArray], stopwatch: Stopwatch) -> list[tuple[View, View]]:
    """Each image as the classifier sees it without and with the defense, all in one batch."""
    batch = np.concatenate(images)
    purified = defense.purify(batch, None, stopwatch)
    with stopwatch.stage("classify"):
        predictions = predict(defense.classifier, np.concatenate([batch, purified]))
    views = [View(image[None], prediction) for image, prediction in zip([*batch, *purified], predictions, strict=True)]
    return list(zip(views[: len(batch)], views[len(batch) :], strict=True))


def _judge(adversarial: View, purified: View, goal: Goal, label: int) -> Outcome:
    attacked = (adversarial if goal.target == "classifier" else purified).prediction.label
    success = attacked != label if goal.target_label is None else attacked == goal.target_label
    return Outcome(adversarial, purified, success, recovered=purified.prediction.label == label)
