"""One table of all attacks times what they promise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq

from service.attacks import ATTACKS, Attack, BlackBox, Norm, Result, perturbation_size
from service.attacks.white_box import to_numpy
from tests.service.asking import Array
from tests.service.attacks.victims import (
    SIDE,
    Decisions,
    LinearModel,
    Scores,
    Spy,
    WavyModel,
    black_and_white,
    images_in,
    labels_of,
    weights,
)


@dataclass(frozen=True)
class Case:
    """An attack in a norm, with settings that make it quick and strong enough for these models."""

    attack: Attack
    norm: Norm
    settings: dict[str, Any] = field(default_factory=dict)

    def run(self, model: LinearModel | Spy, images: Any, labels: Any, *, seed: int = 0, **options: Any) -> Result:
        """Attack, with no more of the model in sight than the attack is said to need."""
        targeted = options.pop("targeted", False)
        settings = {**self.settings, **options}
        victim: dict[str, BlackBox] = {"gradients": model, "scores": Scores(model), "decisions": Decisions(model)}
        route = self.attack.plan(self.norm, settings)
        return route.run(victim[self.attack.access], images, labels, targeted=targeted, seed=seed)


_SETTINGS: dict[str, dict[str, Any]] = {
    "pgd": {"steps": 7},
    "apgd_ce": {"steps": 20},
    "apgd_dlr": {"steps": 20},
    "lbfgs": {"steps": 20, "search_steps": 8},
    "cw": {"steps": 100},
    "ddn": {"steps": 60},
    "one_pixel": {"pixels": 50, "population": 100, "generations": 60},
    "jsma": {"gamma": 0.3},
    "square": {"max_queries": 300},
    "geoda": {"max_queries": 300, "frequencies": 28},
    "hopskipjump": {"max_queries": 300},
}
EPS = {"linf": 0.15, "l2": 2.0}
CASES = [Case(attack, norm, _SETTINGS.get(name, {})) for name, attack in ATTACKS.items() for norm in attack.norms]
BUDGETS = [case for case in CASES if "eps" in case.attack.keywords]
DISTANCES = [case for case in CASES if case.attack.aim == "distance"]
TARGETED = [case for case in CASES if case.attack.can_be_targeted]
DRAW_NOTHING = {"fgsm", "bim", "lbfgs", "jsma", "cw", "deepfool"}
# Whose images are a smooth function of the model's numbers; the others take decisions that rounding may turn.
SMOOTH = {"fgsm", "bim", "pgd", "ddn", "deepfool", "jsma", "square"}


def named(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[f"{case.attack.name}-{case.norm}" for case in cases])


def fooled(model: LinearModel, result: Result, labels: Array) -> Array:
    return np.asarray(labels_of(model, result.adv_images) != labels)


@named(CASES)
def test_images_keep_their_shape_type_and_range(case: Case) -> None:
    model = WavyModel(weights())
    for images in (images_in(n=3), black_and_white(n=3)):
        adv_images = case.run(model, images, labels_of(model, images)).adv_images
        assert (adv_images.shape, adv_images.dtype) == (images.shape, np.float32)
        assert adv_images.min() >= 0
        assert adv_images.max() <= 1
        assert np.all(perturbation_size(images, adv_images, "linf") > 0)


@named(BUDGETS)
def test_images_stay_in_the_ball_and_use_it(case: Case) -> None:
    model, eps = WavyModel(weights()), EPS[case.norm]
    for images in (images_in(n=3), black_and_white(n=3)):
        result = case.run(model, images, labels_of(model, images), eps=eps)
        sizes = perturbation_size(images, result.adv_images, case.norm)
        assert np.all(sizes <= eps + 1e-6)
        assert np.all(sizes > 0.3 * eps)


def test_square_spends_in_l2_what_clipping_gives_back() -> None:
    model, images = LinearModel(weights()), black_and_white(n=6)
    result = Case(ATTACKS["square"], "l2", {"max_queries": 300}).run(model, images, labels_of(model, images), eps=0.5)
    spent = result.queries == 300  # it stops where it has fooled
    assert spent.sum() >= 3
    assert np.all(perturbation_size(images, result.adv_images, "l2")[spent] > 0.95 * 0.5)


@named(BUDGETS)
def test_a_budget_of_zero_returns_the_image(case: Case) -> None:
    model, images = WavyModel(weights()), black_and_white(n=2)
    assert np.array_equal(case.run(model, images, labels_of(model, images), eps=0.0).adv_images, images)


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_jsma_and_one_pixel_change_no_more_pixels_than_they_may(share: float) -> None:
    model, images = LinearModel(weights()), black_and_white(n=3)
    labels = labels_of(model, images)
    salient = Case(ATTACKS["jsma"], "l0").run(model, images, (labels + 1) % 10, targeted=True, gamma=share)
    assert np.all(perturbation_size(images, salient.adv_images, "l0") <= share * images[0].size)
    few = Case(ATTACKS["one_pixel"], "l0").run(model, images, labels, pixels=2, population=20, generations=3)
    assert np.all(perturbation_size(images, few.adv_images, "l0") <= 2)


@named(CASES)
def test_the_input_is_untouched(case: Case) -> None:
    model, images = WavyModel(weights()), black_and_white(n=2)
    labels = labels_of(model, images)
    before = images.copy(), labels.copy(), model.weights.copy()
    case.run(model, images, labels)
    assert all(np.array_equal(a, b) for a, b in zip(before, (images, labels, model.weights), strict=True))


@named(CASES)
def test_the_same_seed_gives_the_same_bytes_and_another_one_others(case: Case) -> None:
    model, images = WavyModel(weights()), images_in(n=2)
    labels = labels_of(model, images)
    first, second, other = (case.run(model, images, labels, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.adv_images, second.adv_images)
    # DDN draws where there is no gradient only.
    draws_nothing = case.attack.name in DRAW_NOTHING | {"ddn"}
    assert np.array_equal(first.adv_images, other.adv_images) == draws_nothing


@named(CASES)
def test_every_query_and_gradient_stands_on_the_bill_of_its_image(case: Case) -> None:
    spy, images = Spy(WavyModel(weights())), images_in(n=3)
    labels = labels_of(spy.model, images)
    together = case.run(spy, images, labels)
    assert (together.queries.sum(), together.gradients.sum()) == (spy.queries, spy.gradients)
    assert np.all(together.queries + together.gradients > 0)
    assert (spy.gradients > 0) == (case.attack.access == "gradients")
    if case.attack.name in DRAW_NOTHING:
        alone = case.run(spy.model, images[1:2], labels[1:2])
        assert (alone.queries[0], alone.gradients[0]) == (together.queries[1], together.gradients[1])


@named(CASES)
def test_it_fools_a_wavy_net(case: Case) -> None:
    model, images = WavyModel(weights(scale=0.05)), images_in(n=4)
    labels = labels_of(model, images)
    assert np.all(fooled(model, case.run(model, images, labels), labels))


@named(TARGETED)
def test_a_targeted_attack_reaches_the_target(case: Case) -> None:
    model, images = LinearModel(weights(scale=0.05)), images_in(0.45, 0.55, n=4)
    targets = (labels_of(model, images) + 1) % 10
    options: dict[str, Any] = {"eps": 3 * EPS[case.norm]} if "eps" in case.attack.keywords else {}
    more: dict[str, Any] = {"max_queries": 1000} if case.attack.name == "square" else {}
    result = case.run(model, images, targets, targeted=True, **options, **more)
    assert np.array_equal(labels_of(model, result.adv_images), targets)


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if not attack.can_be_targeted])
def test_an_attack_without_a_target_refuses_one(name: Any) -> None:
    model, images = LinearModel(weights()), images_in(n=1)
    with pytest.raises(ValueError, match=f"method={name} has no targeted form"):
        ATTACKS[name].plan().run(model, images, labels_of(model, images), targeted=True)


# In 64 dimensions: attacks that only ask learn a direction by as many questions as there are dimensions.
_CLOSE: dict[str, dict[str, Any]] = {
    "lbfgs": {"search_steps": 12},
    "cw": {"steps": 150},
    "geoda": {"max_queries": 1500, "frequencies": 8},
    "hopskipjump": {"max_queries": 4000},
}


@named([case for case in DISTANCES if case.norm != "l0"])
def test_the_distance_is_close_to_the_optimum_of_a_linear_model(case: Case) -> None:
    """Of two classes: the gap between the logits over the length of the difference of their weights."""
    model, images = LinearModel(weights(classes=2, scale=0.3, side=8)), images_in(0.45, 0.55, n=4, side=8)
    labels = labels_of(model, images)
    logits, apart = model.logits(images), model.weights[:, 1] - model.weights[:, 0]
    optimum = np.abs(logits[:, 1] - logits[:, 0]) / np.linalg.norm(apart, ord=1 if case.norm == "linf" else 2)
    result = case.run(model, images, labels, **_CLOSE.get(case.attack.name, {}))
    assert np.all(fooled(model, result, labels))
    sizes = perturbation_size(images, result.adv_images, case.norm)
    assert np.all(sizes >= optimum * 0.999)
    assert np.all(sizes <= optimum * 1.25), sizes / optimum


def test_cw_gets_away_from_black_and_white_pixels() -> None:
    """Within a hundredth of the optimum in the box: along the weights, as far as each pixel may go."""
    model, images = LinearModel(weights(classes=2, scale=0.3)), black_and_white(n=4)
    apart = model.weights[:, 1] - model.weights[:, 0]
    sure = np.random.default_rng(4).random(images.shape) < 0.15
    images[sure] = np.broadcast_to(apart.reshape(1, SIDE, SIDE) > 0, images.shape)[sure]  # so that the way is long
    labels = labels_of(model, images)
    result = Case(ATTACKS["cw"], "l2", {"steps": 100}).run(model, images, labels)
    assert np.all(fooled(model, result, labels))
    for image, label, size in zip(images, labels, perturbation_size(images, result.adv_images, "l2"), strict=True):
        pixels, uphill = image.ravel().astype(np.float64), apart * (1 if label == 0 else -1)

        def gap(far: float, pixels: Array = pixels, uphill: Array = uphill) -> float:
            return float(np.clip(pixels + far * uphill, 0, 1) @ uphill)

        far = brentq(gap, 0.0, 1e3)
        optimum = np.linalg.norm(np.clip(pixels + far * uphill, 0, 1) - pixels)
        assert 0.999 * optimum <= size <= 1.01 * optimum


def test_lbfgs_is_content_with_any_other_class() -> None:
    """On the way to the runner-up a third class overtakes both."""
    model = LinearModel(np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 3.0]], np.float32))
    images, labels = np.array([[[[1.0, 0.0]]]], np.float32), np.zeros(1, np.int64)
    result = Case(ATTACKS["lbfgs"], "l2").run(model, images, labels)
    assert labels_of(model, result.adv_images)[0] == 2
    kept = Case(ATTACKS["lbfgs"], "l2").run(model, images, labels + 1, targeted=True)
    assert np.array_equal(kept.adv_images, images)


def test_jsma_changes_few_more_pixels_than_the_optimum_of_a_linear_model() -> None:
    """Of two opposite classes: the brightenings that help most, until they outweigh the gap."""
    one = weights(classes=1, scale=0.3)
    model, images = LinearModel(np.concatenate([one, -one], axis=1)), np.full((1, 1, 28, 28), 0.5, np.float32)
    label = labels_of(model, images)
    gap = float(np.abs(model.logits(images)[0, 0] - model.logits(images)[0, 1]))
    other = 1 - int(label[0])
    gains = np.sort(model.weights[:, other] - model.weights[:, 1 - other])[::-1] * 0.5
    optimum = int(np.searchsorted(np.cumsum(gains), gap)) + 1
    result = Case(ATTACKS["jsma"], "l0").run(model, images, label, gamma=1.0)
    assert fooled(model, result, label).all()
    assert optimum <= perturbation_size(images, result.adv_images, "l0")[0] <= 1.25 * optimum + 1


def test_one_pixel_finds_what_an_exhaustive_search_finds() -> None:
    model, images = LinearModel(weights(classes=3, scale=0.1, side=6)), images_in(0.4, 0.6, n=1, side=6)
    images[0, 0] += 0.2 * np.sign(model.weights[:, 0].reshape(6, 6))  # so sure that no pixel turns it
    label = np.zeros(1, np.int64)

    def lead(candidates: Array) -> Array:
        logits = model.logits(candidates)
        return np.asarray(logits[:, 0] - logits[:, 1:].max(axis=1))

    every = np.repeat(images, 72, axis=0)
    every.reshape(72, 36)[np.arange(72), np.arange(72) // 2] = np.arange(72) % 2
    assert lead(every).min() > 0
    result = Case(ATTACKS["one_pixel"], "l0").run(model, images, label, population=100, generations=50)
    assert lead(result.adv_images)[0] == pytest.approx(lead(every).min(), rel=0.02)


@named(DISTANCES)
def test_an_image_that_fools_already_is_its_own_nearest(case: Case) -> None:
    model, images = LinearModel(weights()), images_in(n=2)
    wrong = (labels_of(model, images) + 1) % 10
    result = case.run(model, images, wrong)
    assert np.all(perturbation_size(images, result.adv_images, "linf") < 1e-4)


@named([case for case in DISTANCES if case.attack.name not in {"jsma", "deepfool"}])
def test_where_nothing_fools_the_image_is_returned(case: Case) -> None:
    class Stubborn(LinearModel):
        def logits(self, images: Any) -> Any:
            return super().logits(images) * 1e-3 + np.array([[100.0, 0.0, 0.0]], np.float32)

    model, images = Stubborn(weights(classes=3)), images_in(n=2)
    result = case.run(model, images, np.zeros(2, np.int64))
    assert np.array_equal(result.adv_images, images)


@named(CASES)
def test_torch_and_numpy_arrays_give_the_same_images(case: Case) -> None:
    torch = pytest.importorskip("torch")
    model, images = LinearModel(weights()), black_and_white(n=2)
    labels = labels_of(model, images)
    expected = case.run(model, images, labels)
    found = case.run(LinearModel(torch.from_numpy(model.weights)), torch.from_numpy(images), torch.from_numpy(labels))
    assert isinstance(found.adv_images, torch.Tensor)
    ours = to_numpy(found.adv_images)
    if case.attack.name in SMOOTH:
        assert np.allclose(ours, expected.adv_images, atol=1e-4)
    assert np.array_equal(labels_of(model, ours) != labels, fooled(model, expected, labels))
    found_size, expected_size = (perturbation_size(images, side, case.norm) for side in (ours, expected.adv_images))
    assert np.allclose(found_size, expected_size, rtol=0.1)
