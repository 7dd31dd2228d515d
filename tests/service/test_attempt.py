"""An attempt fills in its defaults, refuses what does not fit together, and judges honestly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.attempt import Attempt, Goal, attempt, walk
from service.catalog import Catalog
from service.errors import ParameterError
from service.images import from_bytes, rounded
from service.latency import Stopwatch
from tests.service.tiny_models import image_of


def attacked(catalog: Catalog, label: int = 3, goal: dict[str, Any] | None = None, **options: Any) -> Attempt:
    image = from_bytes(image_of("mnist", label))[None, None]
    wanted = Goal(**{"dataset": "mnist", "defense": "autoencoder", "target": "classifier", **(goal or {})})
    return attempt(catalog, image, wanted, walk("pgd", **{"steps": 8, **options}), Stopwatch())


def test_the_defaults_are_filled_in() -> None:
    chosen = walk("pgd")
    assert (chosen.eps, chosen.steps, chosen.restarts, chosen.random_start) == (0.15, 40, 1, True)
    assert chosen.step_size == pytest.approx(2.5 * 0.15 / 40)
    assert walk("pgd", norm="l2").eps == 1.5
    assert walk("pgd", random_start=False).random_start is False
    single = walk("fgsm", eps=0.3)
    assert (single.steps, single.step_size, single.random_start, single.reach) == (1, 0.3, False, 0.3)


def test_fgsm_may_be_spelt_out() -> None:
    spelt = walk("fgsm", eps=0.3, steps=1, step_size=0.3, restarts=1, random_start=False)
    assert spelt == walk("fgsm", eps=0.3)


def test_a_random_start_does_not_add_to_the_reach() -> None:
    for random_start in (True, False):
        chosen = walk("pgd", eps=0.3, steps=7, step_size=0.01, random_start=random_start)
        assert chosen.reach == pytest.approx(0.07)


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        ({"method": "fgsm", "steps": 3}, "steps is 3 with method=fgsm; allowed with it: steps=1, or nothing"),
        (
            {"method": "fgsm", "restarts": 2, "random_start": True},
            "restarts is 2, random_start is true with method=fgsm; allowed with it: restarts=1, random_start=false",
        ),
        ({"method": "fgsm", "eps": 0.2, "step_size": 0.1}, "step_size is 0.1 .* allowed with it: step_size=0.2"),
        ({"method": "pgd", "steps": 200, "restarts": 6}, "200 x 6 = 1200; allowed: at most 1000"),
        ({"method": "pgd", "eps": 1.5}, "eps is 1.5 with norm=linf; allowed: 0 to 1"),
        ({"method": "pgd", "eps": 29.0, "norm": "l2"}, "allowed: 0 to 28"),
        ({"method": "pgd", "step_size": 1.5}, "step_size is 1.5 with norm=linf; allowed: above 0, at most 1"),
    ],
)
def test_what_does_not_fit_together_is_refused(options: dict[str, Any], fragment: str) -> None:
    with pytest.raises(ParameterError, match=fragment):
        walk(options.pop("method"), **options)


def test_an_oblivious_attack_fools_the_classifier_and_the_purifier_recovers(catalog: Catalog) -> None:
    result = attacked(catalog)
    assert result.label == result.clean.prediction.label == result.defended_clean.prediction.label == 3
    assert result.as_computed.success
    assert result.as_computed.adversarial.prediction.label != 3
    assert result.as_computed.recovered
    assert result.as_computed.purified.prediction.label == 3
    assert result.linf == pytest.approx(0.15, abs=1e-6)


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


def test_the_rounded_image_is_judged_by_itself(catalog: Catalog) -> None:
    """The attack wins by a tenth of a grey level, and rounding takes that away."""
    pixels = image_of("mnist", 3)
    pixels.reshape(784)[3 * 78 : 4 * 78 : 2] += 1  # the band's mean is 140.5, the others' 90
    image = from_bytes(pixels)[None, None]
    goal = Goal("mnist", "autoencoder", "classifier")
    result = attempt(catalog, image, goal, walk("fgsm", eps=25.3 / 255), Stopwatch())
    assert np.array_equal(result.after_rounding.adversarial.image, rounded(result.as_computed.adversarial.image))
    assert result.as_computed.success
    assert not result.after_rounding.success


@pytest.mark.parametrize(
    ("goal", "fragment"),
    [
        ({"target": "pipeline", "defense": "none"}, "target=pipeline needs a purifier"),
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
