"""An attempt fills in its defaults, refuses what does not fit together, and judges honestly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.attacks import ATTACKS, Method
from service.attempt import Attempt, Goal, Target, attempt, knowledge_of, plan
from service.catalog import Catalog
from service.errors import ParameterError
from service.images import from_bytes, rounded
from service.latency import Stopwatch
from tests.service.tiny_models import image_of


def attacked(catalog: Catalog, label: int = 3, goal: dict[str, Any] | None = None, **options: Any) -> Attempt:
    image = from_bytes(image_of("mnist", label))[None, None]
    wanted = Goal(**{"dataset": "mnist", "defense": "autoencoder", "target": "classifier", **(goal or {})})
    route = plan("pgd", **{"steps": 8, **options})
    wanted.check(catalog, route)
    return attempt(catalog, image, wanted, route, Stopwatch())


def test_the_defaults_are_filled_in() -> None:
    chosen = plan("pgd")
    assert chosen.settings == {
        "eps": 0.15,
        "steps": 40,
        "step_size": 2.5 * 0.15 / 40,
        "restarts": 1,
        "random_start": True,
    }
    assert (chosen.norm, plan("pgd", "l2").settings["eps"], plan("ddn").norm) == ("linf", 1.5, "l2")
    assert plan("fgsm", eps=0.3).settings == {"eps": 0.3}


def test_the_reach_is_what_the_steps_can_cross() -> None:
    for random_start in (True, False):
        assert plan("pgd", eps=0.3, steps=7, step_size=0.01, random_start=random_start).reach == pytest.approx(0.07)
    assert plan("fgsm", eps=0.3).reach == plan("square", eps=0.3).reach == 0.3
    assert plan("cw").reach is None


@pytest.mark.parametrize(
    ("method", "target", "knowledge"),
    [
        ("pgd", "classifier", "oblivious"),
        ("pgd", "pipeline", "adaptive"),
        ("square", "classifier", "oblivious"),
        ("square", "pipeline", "black_box"),
        ("geoda", "pipeline", "black_box"),
    ],
)
def test_what_the_attacker_knows_depends_on_method_and_target(method: Any, target: Any, knowledge: str) -> None:
    assert knowledge_of(target, plan(method).attack) == knowledge


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        ({"method": "fgsm", "steps": 3}, r"'steps' is no parameter of method=fgsm; allowed: eps \(0 to 1\)"),
        ({"method": "apgd_ce", "steps": 500, "restarts": 5}, "500 x 5 = 2500 with method=apgd_ce; allowed: at most"),
        ({"method": "pgd", "eps": 1.5}, "eps is 1.5 with method=pgd and norm=linf; allowed: 0 to 1"),
        ({"method": "pgd", "eps": 29.0, "norm": "l2"}, "allowed: 0 to 28"),
        ({"method": "pgd", "step_size": 1.5}, "step_size is 1.5 with method=pgd and norm=linf; allowed: above 0 to 1"),
        ({"method": "pgd", "steps": "many"}, "steps is 'many' .* allowed: 1 to 200"),
        ({"method": "cw", "norm": "linf"}, "norm is 'linf' with method=cw; allowed: l2"),
    ],
)
def test_what_does_not_fit_together_is_refused(options: dict[str, Any], fragment: str) -> None:
    with pytest.raises(ParameterError, match=fragment):
        plan(options.pop("method"), options.pop("norm", None), **options)


@pytest.mark.parametrize("method", ATTACKS)
@pytest.mark.parametrize("target", ["classifier", "pipeline"])
def test_every_method_answers_and_keeps_its_books(catalog: Catalog, method: Method, target: Target) -> None:
    image = from_bytes(image_of("mnist", 3))[None, None]
    quick: dict[str, dict[str, Any]] = {
        "lbfgs": {"steps": 20},
        "cw": {"steps": 100},
        "one_pixel": {"pixels": 50, "population": 100, "generations": 30},
        "square": {"eps": 0.3, "max_queries": 300},
        "hopskipjump": {"max_queries": 300},
        "geoda": {"max_queries": 300},
    }
    route = plan(method, **quick.get(method, {"eps": 0.3} if "eps" in ATTACKS[method].keywords else {}))
    result = attempt(catalog, image, Goal("mnist", "autoencoder", target), route, Stopwatch())
    # A band has 78 pixels, of which fifty cannot turn the answer; and none of them lowers another class's logit, which
    # is what JSMA looks for.
    assert result.as_computed.success != (method in {"one_pixel", "jsma"})
    assert (result.cost.gradients > 0) == (route.attack.access == "gradients")
    assert result.cost.queries + result.cost.gradients > 0
    if route.attack.aim == "budget":
        assert result.cost.loss is not None
        assert result.cost.loss > (0 if method == "one_pixel" else np.log(2))  # the label's probability is below a half
        assert result.cost.distance is None
    elif method != "jsma":
        assert result.cost.loss is None
        assert result.cost.distance == result.sizes[route.norm]
        assert result.cost.distance > 0


def test_a_distance_is_told_only_where_an_image_was_found(catalog: Catalog) -> None:
    image = from_bytes(image_of("mnist", 3))[None, None]
    route = plan("jsma", gamma=0.0)
    result = attempt(catalog, image, Goal("mnist", "autoencoder", "classifier"), route, Stopwatch())
    assert not result.as_computed.success
    assert result.cost.distance is None


def test_draws_of_the_noise_are_averaged_and_success_is_judged_on_fresh_ones(catalog: Catalog) -> None:
    averaged = attacked(catalog, goal={"target": "pipeline", "eot": 4}, eps=0.4)
    assert averaged.success_rate is not None
    assert averaged.success_rate > 0.9
    assert attacked(catalog, goal={"target": "pipeline", "eot": 4}, eps=0.01).success_rate == 0
    assert attacked(catalog, goal={"target": "pipeline"}, eps=0.4).success_rate is None
    again = attacked(catalog, goal={"target": "pipeline", "eot": 4}, eps=0.4)
    assert np.array_equal(again.as_computed.adversarial.image, averaged.as_computed.adversarial.image)


def test_an_oblivious_attack_fools_the_classifier_and_the_purifier_recovers(catalog: Catalog) -> None:
    result = attacked(catalog)
    assert result.label == result.clean.prediction.label == result.defended_clean.prediction.label == 3
    assert result.as_computed.success
    assert result.as_computed.adversarial.prediction.label != 3
    assert result.as_computed.recovered
    assert result.as_computed.purified.prediction.label == 3
    assert result.sizes["linf"] == pytest.approx(0.15, abs=1e-6)


def test_a_class_that_the_purifier_does_not_help_is_not_recovered(catalog: Catalog) -> None:
    result = attacked(catalog, label=5)
    assert result.as_computed.success
    assert not result.as_computed.recovered


def test_success_is_judged_on_the_attacked_target(catalog: Catalog) -> None:
    """A small budget fools the classifier alone, so that an attack on the pipeline does not succeed."""
    oblivious, adaptive = (
        attacked(catalog, goal={"target": target}, eps=0.11) for target in ("classifier", "pipeline")
    )
    assert oblivious.as_computed.success
    assert adaptive.as_computed.adversarial.prediction.label != 3
    assert not adaptive.as_computed.success
    assert adaptive.as_computed.recovered
    strong = attacked(catalog, goal={"target": "pipeline"}, eps=0.4)
    assert strong.as_computed.success
    assert not strong.as_computed.recovered


@pytest.mark.parametrize("target", ["classifier", "pipeline"])
def test_a_targeted_attack_succeeds_at_its_target_only(catalog: Catalog, target: str) -> None:
    reached = attacked(catalog, goal={"target": target, "target_label": 7}, eps=0.5)
    assert reached.as_computed.success
    seen = reached.as_computed.adversarial if target == "classifier" else reached.as_computed.purified
    assert seen.prediction.label == 7
    assert not attacked(catalog, goal={"target": target, "target_label": 7}, eps=0.01).as_computed.success


def test_the_label_is_the_classifiers_answer_unless_given(catalog: Catalog) -> None:
    assert attacked(catalog, label=6).label == 6
    given = attacked(catalog, label=6, goal={"label": 2}, eps=0.0)
    assert given.label == 2
    assert given.as_computed.success  # it never answered 2


def test_without_a_defense_the_purified_image_is_the_image(catalog: Catalog) -> None:
    result = attacked(catalog, goal={"defense": "none"})
    assert np.array_equal(result.as_computed.purified.image, result.as_computed.adversarial.image)
    assert result.as_computed.recovered != result.as_computed.success
    assert list(result.models) == ["mnist-classifier"]


@pytest.mark.parametrize(("target", "knowledge"), [("classifier", "oblivious"), ("pipeline", "adaptive")])
def test_the_attacked_classifier_is_the_plain_one_or_the_one_in_its_place(
    catalog: Catalog, target: Target, knowledge: str
) -> None:
    """The plain one names class 0, the other calls it 1: led away from 0, only the plain one has to be moved."""
    result = attacked(catalog, label=0, goal={"defense": "distillation", "target": target}, eps=0.3)
    assert (result.label, result.defended_clean.prediction.label) == (0, 1)
    assert result.as_computed.success
    moved = result.as_computed.adversarial.prediction.label != 0
    assert moved is (target == "classifier")
    assert np.array_equal(result.as_computed.purified.image, result.as_computed.adversarial.image)
    assert set(result.models) == {"mnist-classifier", "mnist-classifier-distillation"}
    assert knowledge_of(target, plan("pgd").attack) == knowledge


def test_the_rounded_image_is_judged_by_itself(catalog: Catalog) -> None:
    """The attack wins by a tenth of a grey level, and rounding takes that away."""
    pixels = image_of("mnist", 3)
    pixels.reshape(784)[3 * 78 : 4 * 78 : 2] += 1  # the band's mean is 140.5, the others' 90
    image = from_bytes(pixels)[None, None]
    goal = Goal("mnist", "autoencoder", "classifier")
    result = attempt(catalog, image, goal, plan("fgsm", eps=25.3 / 255), Stopwatch())
    assert np.array_equal(result.after_rounding.adversarial.image, rounded(result.as_computed.adversarial.image))
    assert result.as_computed.success
    assert not result.after_rounding.success


@pytest.mark.parametrize(
    ("goal", "fragment"),
    [
        ({"target": "pipeline", "defense": "none"}, "target=pipeline needs a defense"),
        ({"eot": 2}, "eot is 2, and target=classifier with defense=autoencoder draws no noise"),
        (
            {"eot": 2, "target": "pipeline", "defense": "distillation"},
            "eot is 2, and target=pipeline with defense=distillation draws no noise",
        ),
        ({"target": "pipeline", "defense": "puvae"}, "no gradient is shipped for defense 'puvae'"),
        ({"label": 4, "target_label": 4}, "target_label is 4, which is the label itself"),
        ({"target_label": 3}, "target_label is 3, which is what the classifier answers already"),
        ({"dataset": "cifar"}, "unknown dataset 'cifar'"),
        ({"defense": "wall"}, "unknown defense 'wall'"),
    ],
)
def test_goals_that_cannot_be_had_are_refused(catalog: Catalog, goal: dict[str, Any], fragment: str) -> None:
    with pytest.raises(ParameterError, match=fragment):
        attacked(catalog, goal=goal)
