"""One table of attacks times promises, on models whose optimum is known in closed form."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from array_api_compat import array_namespace

from service.attacks import Norm, default_step_size, effective_reach, fgsm, perturbation_size, pgd
from service.attacks.white_box import cross_entropy, one_hot
from tests.service.asking import Array

PIXELS = 784


def _fgsm(*arguments: Any, rng: np.random.Generator, **options: Any) -> Any:
    """FGSM draws nothing, thus takes no generator."""
    return fgsm(*arguments, **options)


ATTACKS: dict[str, Callable[..., Any]] = {
    "fgsm": _fgsm,
    "pgd": lambda model, images, labels, **options: pgd(model, images, labels, steps=7, **options),
    "pgd from the image": lambda model, images, labels, **options: pgd(
        model, images, labels, steps=7, random_start=False, **options
    ),
    "pgd with restarts": lambda model, images, labels, **options: pgd(
        model, images, labels, steps=3, restarts=3, **options
    ),
}
EPS: dict[Norm, float] = {"linf": 0.15, "l2": 2.0}
CASES = [(name, norm) for name in ATTACKS for norm in EPS]


@dataclass
class LinearModel:
    """Logits are pixels times weights (784, K)."""

    weights: Any

    def logits(self, images: Any) -> Any:
        xp = array_namespace(images)
        return xp.reshape(images, (images.shape[0], PIXELS)) @ self.weights

    def loss_gradient(self, images: Any, labels: Any) -> tuple[Any, Any]:
        logits = self.logits(images)
        return logits, self._to_images(_error(logits, labels), images)

    def _to_images(self, by_logits: Any, images: Any) -> Any:
        xp = array_namespace(images)
        return xp.reshape(by_logits @ self.weights.T, images.shape)


class WavyModel(LinearModel):
    """Logits are 4 sin(pixels times weights): many hills, so that it matters where a walk starts."""

    def logits(self, images: Any) -> Any:
        xp = array_namespace(images)
        return 4 * xp.sin(super().logits(images))

    def loss_gradient(self, images: Any, labels: Any) -> tuple[Any, Any]:
        xp = array_namespace(images)
        logits = self.logits(images)
        slope = 4 * xp.cos(LinearModel.logits(self, images))
        return logits, self._to_images(_error(logits, labels) * slope, images)


def _error(logits: Any, labels: Any) -> Any:
    """The cross-entropy's gradient by the logits: softmax minus one-hot."""
    xp = array_namespace(logits)
    unscaled = xp.exp(logits - xp.max(logits, axis=1, keepdims=True))
    probabilities = unscaled / xp.sum(unscaled, axis=1, keepdims=True)
    return probabilities - xp.astype(one_hot(labels, logits), logits.dtype)


def weights(classes: int = 10, scale: float = 0.1) -> Array:
    return (np.random.default_rng(1).standard_normal((PIXELS, classes)) * scale).astype(np.float32)


def images_in(low: float = 0.3, high: float = 0.7, n: int = 6) -> Array:
    drawn = np.random.default_rng(2).uniform(low, high, (n, 1, 28, 28))
    return drawn.astype(np.float32)


def black_and_white(n: int = 6) -> Array:
    return (np.random.default_rng(3).random((n, 1, 28, 28)) > 0.5).astype(np.float32)


def labels_of(model: LinearModel, images: Array) -> Array:
    return np.asarray(model.logits(images).argmax(axis=1))


def run(name: str, model: Any, images: Any, labels: Any, norm: Norm, seed: int = 0, **options: Any) -> Any:
    return ATTACKS[name](
        model,
        images,
        labels,
        norm=norm,
        rng=np.random.default_rng(seed),
        **{"eps": EPS[norm], **options},
    )


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_the_result_lies_in_the_ball_and_in_the_range(name: str, norm: Norm) -> None:
    model = LinearModel(weights())
    for images in (images_in(), black_and_white()):
        adv_images = run(name, model, images, labels_of(model, images), norm)
        assert adv_images.shape == images.shape
        assert adv_images.dtype == np.float32
        assert adv_images.min() >= 0
        assert adv_images.max() <= 1
        sizes = perturbation_size(images, adv_images, norm)
        assert np.all(sizes <= EPS[norm] + 1e-6)
        assert np.all(sizes > 0.3 * EPS[norm])


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_the_input_is_untouched(name: str, norm: Norm) -> None:
    model, images = LinearModel(weights()), black_and_white()
    labels = labels_of(model, images)
    before = images.copy(), labels.copy(), model.weights.copy()
    run(name, model, images, labels, norm)
    assert all(np.array_equal(a, b) for a, b in zip(before, (images, labels, model.weights), strict=True))


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_the_same_seed_gives_the_same_bytes(name: str, norm: Norm) -> None:
    model, images = WavyModel(weights()), images_in()
    first, second, other = (run(name, model, images, labels_of(model, images), norm, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    draws_nothing = name in {"fgsm", "pgd from the image"}
    assert np.array_equal(first, other) == draws_nothing


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_a_budget_of_zero_returns_the_image(name: str, norm: Norm) -> None:
    model, images = LinearModel(weights()), black_and_white()
    assert np.array_equal(run(name, model, images, labels_of(model, images), norm, eps=0.0), images)


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_the_attack_raises_the_loss_of_every_image(name: str, norm: Norm) -> None:
    model, images = LinearModel(weights()), images_in()
    labels = labels_of(model, images)
    adv_images = run(name, model, images, labels, norm)
    before, after = (cross_entropy(model.logits(side), labels) for side in (images, adv_images))
    assert np.all(after > before)


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_a_targeted_attack_reaches_the_target(name: str, norm: Norm) -> None:
    model, images = LinearModel(weights()), images_in()
    targets = (labels_of(model, images) + 1) % 10
    adv_images = run(name, model, images, targets, norm, targeted=True, eps=2 * EPS[norm])
    assert np.array_equal(labels_of(model, adv_images), targets)


@pytest.mark.parametrize("name", ["fgsm", "pgd", "pgd from the image"])
def test_linf_finds_the_closed_form_optimum_of_a_linear_model(name: str) -> None:
    """Of two classes: every pixel moves by eps along the sign of the difference of their weights."""
    model = LinearModel(weights(classes=2))
    for images in (images_in(), black_and_white()):
        labels = np.zeros(len(images), np.int64)
        away = np.sign(model.weights[:, 1] - model.weights[:, 0]).reshape(1, 1, 28, 28)
        optimum = np.clip(images + EPS["linf"] * away, 0, 1)
        assert np.allclose(run(name, model, images, labels, "linf"), optimum, atol=1e-6)


@pytest.mark.parametrize("name", ["fgsm", "pgd from the image"])
def test_l2_finds_the_closed_form_optimum_of_a_linear_model(name: str) -> None:
    """Of two classes: a step of length eps along the difference of their weights."""
    model, images = LinearModel(weights(classes=2)), images_in(0.4, 0.6)
    away = (model.weights[:, 1] - model.weights[:, 0]).reshape(1, 1, 28, 28)
    optimum = images + EPS["l2"] * away / np.linalg.norm(away)
    adv_images = run(name, model, images, np.zeros(len(images), np.int64), "l2")
    assert np.allclose(adv_images, optimum, atol=1e-5)


@pytest.mark.parametrize("norm", EPS)
def test_fgsm_is_pgd_with_one_full_step(norm: Norm) -> None:
    model, images = WavyModel(weights()), images_in()
    labels, eps = labels_of(model, images), EPS[norm]
    one_step = pgd(
        model,
        images,
        labels,
        eps=eps,
        steps=1,
        step_size=eps,
        random_start=False,
        norm=norm,
        rng=np.random.default_rng(0),
    )
    assert np.array_equal(one_step, fgsm(model, images, labels, eps=eps, norm=norm))


@pytest.mark.parametrize("norm", EPS)
@pytest.mark.parametrize("targeted", [False, True])
def test_more_restarts_never_do_worse(norm: Norm, targeted: bool) -> None:
    model, images = WavyModel(weights(scale=0.3)), images_in(n=12)
    labels = labels_of(model, images)
    aims = (labels + 1) % 10 if targeted else labels

    def attacked(restarts: int) -> tuple[Array, Array]:
        adv_images = pgd(
            model,
            images,
            aims,
            eps=EPS[norm] / 4,
            steps=3,
            restarts=restarts,
            targeted=targeted,
            norm=norm,
            rng=np.random.default_rng(0),
        )
        logits = model.logits(adv_images)
        hit = (logits.argmax(axis=1) == aims) == targeted
        return hit, cross_entropy(logits, aims) * (-1 if targeted else 1)

    results = [attacked(restarts) for restarts in (1, 2, 6)]
    for (fewer_hits, fewer_loss), (more_hits, more_loss) in itertools.pairwise(results):
        assert np.all(more_hits >= fewer_hits)
        assert np.all((more_loss >= fewer_loss - 1e-6) | (more_hits > fewer_hits))
    assert np.any(results[-1][1] > results[0][1] + 1e-3)


def test_a_restart_that_succeeds_beats_one_of_a_higher_loss_that_fails() -> None:
    class Trap:
        """Nowhere a gradient. Brighter: a high loss, yet the right answer, 0. Darker: a lower loss and a wrong one."""

        def logits(self, images: Any) -> Any:
            brighter = images.mean(axis=(1, 2, 3)) > 0.5
            return np.where(brighter[:, None], [[2.0, 1.9, 1.9]], [[2.0, 2.5, -9.0]]).astype(np.float32)

        def loss_gradient(self, images: Any, labels: Any) -> tuple[Any, Any]:
            return self.logits(images), np.zeros_like(images)

    model, images, labels = Trap(), np.full((8, 1, 28, 28), 0.5, np.float32), np.zeros(8, np.int64)
    rng = np.random.default_rng(0)
    adv_images = pgd(model, images, labels, eps=0.1, steps=1, restarts=10, rng=rng)
    assert model.logits(adv_images).argmax(axis=1).tolist() == 8 * [1]


@pytest.mark.parametrize("norm", EPS)
def test_an_image_is_attacked_as_if_it_were_alone(norm: Norm) -> None:
    model, images = WavyModel(weights()), images_in()
    labels = labels_of(model, images)
    together = run("pgd from the image", model, images, labels, norm)
    alone = [run("pgd from the image", model, images[i : i + 1], labels[i : i + 1], norm) for i in range(len(images))]
    assert np.allclose(together, np.concatenate(alone), atol=1e-5)


def test_a_vanishing_gradient_still_gives_a_step_of_full_length() -> None:
    class Sure(LinearModel):
        def loss_gradient(self, images: Any, labels: Any) -> tuple[Any, Any]:
            logits, gradient = super().loss_gradient(images, labels)
            return logits, gradient * np.float32(1e-30)

    images = images_in(0.4, 0.6)
    adv_images = fgsm(Sure(weights()), images, np.zeros(len(images), np.int64), eps=2.0, norm="l2")
    assert np.allclose(perturbation_size(images, adv_images, "l2"), 2.0, atol=1e-4)


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_torch_and_numpy_arrays_give_the_same_images(name: str, norm: Norm) -> None:
    torch = pytest.importorskip("torch")
    model, images = LinearModel(weights()), black_and_white()
    labels = labels_of(model, images)
    expected = run(name, model, images, labels, norm)
    found = run(
        name,
        LinearModel(torch.from_numpy(model.weights)),
        torch.from_numpy(images),
        torch.from_numpy(labels),
        norm,
    )
    assert isinstance(found, torch.Tensor)
    assert np.allclose(found.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    "refused",
    [
        {"eps": -0.1},
        {"eps": float("nan")},
        {"eps": float("inf")},
        {"eps": 0.1, "steps": 0},
        {"eps": 0.1, "restarts": 0},
        {"eps": 0.1, "step_size": float("nan")},
        {"eps": 0.1, "step_size": -1.0},
    ],
)
def test_what_cannot_be_walked_is_refused(refused: dict[str, Any]) -> None:
    model, images = LinearModel(weights()), images_in()
    with pytest.raises(ValueError, match=r"is .*; allowed: a"):
        pgd(model, images, labels_of(model, images), rng=np.random.default_rng(0), **refused)


def test_the_reach_of_a_walk_is_what_it_can_cross() -> None:
    assert effective_reach(0.3, 7, 0.01) == pytest.approx(0.07)
    assert effective_reach(0.3, 10, 0.1) == 0.3
    assert default_step_size(0.4, 10) == pytest.approx(0.1)
    model, images = LinearModel(weights()), images_in()
    short = run("pgd from the image", model, images, labels_of(model, images), "linf", step_size=0.01)
    assert perturbation_size(images, short, "linf").max() == pytest.approx(0.07, abs=1e-6)


def test_a_random_start_fills_the_ball_uniformly() -> None:
    from service.attacks.norms import random_start

    rng = np.random.default_rng(0)
    images = np.zeros((400, 1, 1, 2), np.float32)
    flat = random_start(images, 0.5, "linf", rng)
    assert np.abs(flat).max() <= 0.5
    assert float(np.abs(flat).mean()) == pytest.approx(0.25, abs=0.02)
    lengths = np.sqrt((random_start(images, 0.5, "l2", rng) ** 2).sum(axis=(1, 2, 3)))
    assert lengths.max() <= 0.5 + 1e-6
    # In two dimensions the length is distributed as the root of a uniform one: its mean is 2/3 of the radius.
    assert float(lengths.mean()) == pytest.approx(1 / 3, abs=0.02)
