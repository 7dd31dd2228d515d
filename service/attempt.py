"""One attack on one image, run and judged: what it did to the answer, and what the defense made of it.

Knows no HTTP. The purifier's noise is zero in every judgement, as in a classification without a seed; only an attack
with `eot` sees other draws, and is judged on fresh ones beside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from service import images as pictures
from service.attacks import ATTACKS, Attack, BlackBox, Method, Norm, Plan, Result, WhiteBox, perturbation_size
from service.catalog import NO_DEFENSE, Catalog, FloatArray
from service.errors import ParameterError
from service.latency import Stopwatch
from service.leash import Leash, Leashed
from service.prediction import Defense, Prediction, predict

Target = Literal["classifier", "pipeline"]
Knowledge = Literal["oblivious", "adaptive", "black_box"]
MAX_EOT = 32
FRESH_DRAWS = 32
_FRESH = 2**32  # beyond every seed that a request may name, so that no attack has seen these draws


def plan(method: Method, norm: Norm | None = None, **given: object) -> Plan:
    """The attack of that name with the given hyper-parameters and defaults for the others.

    Raises:
        ParameterError: one is unknown, not used by this attack, or beyond its limits.
    """
    try:
        return ATTACKS[method].plan(norm, given)
    except ValueError as error:
        raise ParameterError(str(error)) from error


def knowledge_of(target: Target, attack: Attack) -> Knowledge:
    """What the attacker sees: the plain classifier alone, the defense too, or no more than its answers."""
    if target == "classifier":
        return "oblivious"
    return "adaptive" if attack.access == "gradients" else "black_box"


@dataclass(frozen=True)
class Goal:
    """What the attack is run against, and for: away from `label`, or to `target_label`.

    `label` None stands for the plain classifier's answer to the image. `eot`: draws of the purifier's noise that each
    look at the pipeline averages over; 0 looks at it with the noise at zero, as it answers without a seed.
    """

    dataset: str
    defense: str
    target: Target
    label: int | None = None
    target_label: int | None = None
    eot: int = 0
    seed: int = 0

    def check(self, catalog: Catalog, route: Plan) -> None:
        """Refuse what can't be attacked, or not so. Opens no graph.

        Raises:
            ParameterError: the data set or the defense is unknown, there is none to attack, its gradient is needed and
                not shipped, or no noise to average; the attack has no targeted form, or leads to `label` itself.
        """
        has_purifier = catalog.has_purifier(self.dataset, self.defense)
        if self.target == "pipeline" and self.defense == NO_DEFENSE:
            raise ParameterError("target=pipeline needs a defense, and defense is 'none'; allowed: target=classifier")
        if self.eot and (self.target == "classifier" or not has_purifier):
            raise ParameterError(
                f"eot is {self.eot}, and target={self.target} with defense={self.defense} draws no noise; allowed: 0, "
                "or target=pipeline with a purifier"
            )
        if route.attack.access == "gradients":
            catalog.gradient(self.dataset, NO_DEFENSE if self.target == "classifier" else self.defense)
        if self.target_label is None:
            return
        if not route.attack.can_be_targeted:
            raise ParameterError(
                f"target_label is {self.target_label}, and method={route.attack.name} has no targeted form; allowed "
                f"with it: {', '.join(name for name, attack in ATTACKS.items() if attack.can_be_targeted)}"
            )
        if self.target_label == self.label:
            raise ParameterError(
                f"target_label is {self.target_label}, which is the label itself; allowed: another class"
            )

    def victim(self, catalog: Catalog, route: Plan) -> BlackBox:
        """The attacked model, with its gradient where the attack takes one."""
        if self.target == "classifier":
            return catalog.white_box(self.dataset)
        # Without draws the noise is zero, whatever the seed of the attack.
        noise_seed = self.seed if self.eot else None
        if route.attack.access != "gradients":
            return catalog.black_box(self.dataset, self.defense, noise_seed, self.eot)
        return catalog.white_box(self.dataset, self.defense, noise_seed, self.eot)


@dataclass(frozen=True)
class View:
    """One picture of an attempt, (1, 1, 28, 28), and what the classifier that it reaches says of it."""

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
class Cost:
    """What an attack spent and got.

    `loss`: of a budget attack, the cross-entropy of the target's answer that it reached, to the label or the target
    class. `distance`: of the others, how far the image that fools is, in the attack's norm; None where none was found.
    """

    queries: int
    gradients: int
    loss: float | None
    distance: float | None


@dataclass(frozen=True)
class Attempt:
    """What an attack did, with the adversarial image as computed and as its 8-bit PNG carries it.

    `success_rate`: the share of fresh draws of the noise on which it succeeds; None without `eot`.
    """

    label: int
    clean: View
    defended_clean: View
    as_computed: Outcome
    after_rounding: Outcome
    sizes: dict[Norm, float]
    cost: Cost
    success_rate: float | None
    models: dict[str, str]


def attempt(
    catalog: Catalog, image: FloatArray, goal: Goal, route: Plan, stopwatch: Stopwatch, leash: Leash | None = None
) -> Attempt:
    """Attack one image (1, 1, 28, 28) towards a goal that was checked, and judge the result.

    Raises:
        ParameterError: `target_label` is what the classifier answers already.
        ServiceError: the leash was cut.
    """
    # What is attacked is what is judged: another precision draws the border elsewhere, and ships no gradient.
    defense = Defense.of(catalog, goal.dataset, goal.defense, "fp32")
    victim = Leashed(goal.victim(catalog, route), leash or Leash())
    with stopwatch.stage("classify"):
        label = _label(defense, image, goal)
    with stopwatch.stage("attack"):
        result = _run(route, victim, image, goal, label)
    adv_image: FloatArray = result.adv_images
    clean, computed, rounded = _look(defense, [image, adv_image, pictures.rounded(adv_image)], stopwatch)
    outcome = _judge(*computed, goal, label)
    return Attempt(
        label=label,
        clean=clean[0],
        defended_clean=clean[1],
        as_computed=outcome,
        after_rounding=_judge(*rounded, goal, label),
        sizes={norm: _size(image, adv_image, norm) for norm in ("linf", "l2", "l0")},
        cost=_cost(result, route, outcome, goal, label, image),
        success_rate=_success_rate(defense, adv_image, goal, label, stopwatch) if goal.eot else None,
        models=defense.models,
    )


def _run(route: Plan, victim: WhiteBox, image: FloatArray, goal: Goal, label: int) -> Result:
    targeted = goal.target_label is not None
    aim = np.array([goal.target_label if targeted else label], dtype=np.int64)
    return route.run(victim, image, aim, targeted=targeted, seed=goal.seed)


def _label(defense: Defense, image: FloatArray, goal: Goal) -> int:
    label = predict(defense.plain, image)[0].label if goal.label is None else goal.label
    if goal.target_label == label:
        raise ParameterError(
            f"target_label is {goal.target_label}, which is what the classifier answers already; allowed: another class"
        )
    return label


def _look(defense: Defense, images: list[FloatArray], stopwatch: Stopwatch) -> list[tuple[View, View]]:
    """Each image as it is seen without and with the defense."""
    batch = np.concatenate(images)
    purified = defense.purify(batch, None, stopwatch)
    undefended, defended = defense.classify(batch, purified, stopwatch)
    return list(zip(_views(batch, undefended), _views(purified, defended), strict=True))


def _views(images: FloatArray, predictions: list[Prediction]) -> list[View]:
    return [View(image[None], prediction) for image, prediction in zip(images, predictions, strict=True)]


def _judge(adversarial: View, purified: View, goal: Goal, label: int) -> Outcome:
    attacked = _attacked(adversarial, purified, goal).prediction.label
    return Outcome(
        adversarial, purified, _succeeds(attacked, goal, label), recovered=purified.prediction.label == label
    )


def _attacked(adversarial: View, purified: View, goal: Goal) -> View:
    return adversarial if goal.target == "classifier" else purified


def _succeeds(answer: int, goal: Goal, label: int) -> bool:
    return answer != label if goal.target_label is None else answer == goal.target_label


def _cost(result: Result, route: Plan, outcome: Outcome, goal: Goal, label: int, image: FloatArray) -> Cost:
    seen = _attacked(outcome.adversarial, outcome.purified, goal).prediction
    aim = label if goal.target_label is None else goal.target_label
    loss = distance = None
    if route.attack.aim == "budget":
        loss = seen.cross_entropy(aim)
    elif outcome.success:
        distance = _size(image, result.adv_images, route.norm)
    return Cost(int(result.queries[0]), int(result.gradients[0]), loss, distance)


def _success_rate(defense: Defense, adv_image: FloatArray, goal: Goal, label: int, stopwatch: Stopwatch) -> float:
    purified = defense.purify(np.repeat(adv_image, FRESH_DRAWS, axis=0), _FRESH + goal.seed, stopwatch)
    with stopwatch.stage("classify"):
        predictions = predict(defense.classifier, purified)
    return float(np.mean([_succeeds(prediction.label, goal, label) for prediction in predictions]))


def _size(image: FloatArray, adv_image: FloatArray, norm: Norm) -> float:
    return float(perturbation_size(image, adv_image, norm)[0])
