"""FGSM, PGD and their kin on models whose optimum is known in closed form."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from service.attacks import (
    BallNorm,
    Cotangent,
    Result,
    default_step_size,
    effective_reach,
    fgsm,
    perturbation_size,
    pgd,
)
from service.attacks.apgd import apgd_ce, checkpoints
from service.attacks.bim import bim, paper_step_size, paper_steps
from service.attacks.norms import random_start
from service.attacks.white_box import cross_entropy
from tests.service.asking import Array
from tests.service.attacks.victims import LinearModel, WavyModel, black_and_white, images_in, labels_of, weights

EPS: dict[BallNorm, float] = {"linf": 0.15, "l2": 2.0}


def walk(model: Any, images: Any, labels: Any, norm: BallNorm, **options: Any) -> Array:
    """PGD of seven steps from the image itself."""
    settings = {"eps": EPS[norm], "steps": 7, "random_start": False, **options}
    result: Result = pgd(model, images, labels, norm=norm, rng=np.random.default_rng(0), **settings)
    found: Array = result.adv_images
    return found


@pytest.mark.parametrize("name", ["fgsm", "bim", "pgd", "apgd_ce"])
def test_linf_finds_the_closed_form_optimum_of_a_linear_model(name: str) -> None:
    """Of two classes: every pixel moves by eps along the sign of the difference of their weights."""
    model, eps, rng = LinearModel(weights(classes=2, scale=0.01)), EPS["linf"], np.random.default_rng(0)
    for images in (images_in(), black_and_white()):
        labels = np.zeros(len(images), np.int64)
        away = np.sign(model.weights[:, 1] - model.weights[:, 0]).reshape(1, 1, 28, 28)
        optimum = np.clip(images + eps * away, 0, 1)
        found = {
            "fgsm": lambda: fgsm(model, images, labels, eps=eps),  # noqa: B023
            "bim": lambda: bim(model, images, labels, eps=eps),  # noqa: B023
            "pgd": lambda: pgd(model, images, labels, eps=eps, rng=rng),  # noqa: B023
            "apgd_ce": lambda: apgd_ce(model, images, labels, eps=eps, rng=rng),  # noqa: B023
        }[name]()
        assert np.allclose(found.adv_images, optimum, atol=1e-5)


@pytest.mark.parametrize("attack", [fgsm, walk])
def test_l2_finds_the_closed_form_optimum_of_a_linear_model(attack: Any) -> None:
    """Of two classes: a step of length eps along the difference of their weights."""
    model, images = LinearModel(weights(classes=2)), images_in(0.4, 0.6)
    away = (model.weights[:, 1] - model.weights[:, 0]).reshape(1, 1, 28, 28)
    optimum = images + EPS["l2"] * away / np.linalg.norm(away)
    found = attack(model, images, np.zeros(len(images), np.int64), eps=EPS["l2"], norm="l2")
    adv_images = found.adv_images if isinstance(found, Result) else found
    assert np.allclose(adv_images, optimum, atol=1e-5)


@pytest.mark.parametrize("norm", EPS)
@pytest.mark.parametrize("targeted", [False, True])
def test_a_walk_changes_the_loss_of_every_image_as_it_should(norm: BallNorm, targeted: bool) -> None:
    model, images = LinearModel(weights()), images_in()
    labels = (labels_of(model, images) + targeted) % 10
    adv_images = walk(model, images, labels, norm, targeted=targeted)
    before, after = (cross_entropy(model.logits(side), labels) for side in (images, adv_images))
    assert np.all((after < before) if targeted else (after > before))


def test_bim_takes_the_papers_steps_and_reaches_eps_with_fewer() -> None:
    assert [paper_steps(eps) for eps in (0.0, 2 / 255, 16 / 255, 0.3)] == [1, 3, 20, 81]
    assert paper_step_size(16 / 255, 20) == pytest.approx(1 / 255)
    assert paper_step_size(0.3, 10) == pytest.approx(0.03)


def test_apgd_judges_its_step_size_at_the_papers_checkpoints() -> None:
    assert checkpoints(100) == [0, 22, 41, 57, 70, 80, 87, 93, 99]


@pytest.mark.parametrize("norm", EPS)
def test_fgsm_is_pgd_with_one_full_step(norm: BallNorm) -> None:
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
    assert np.array_equal(one_step.adv_images, fgsm(model, images, labels, eps=eps, norm=norm).adv_images)


@pytest.mark.parametrize("norm", EPS)
@pytest.mark.parametrize("targeted", [False, True])
def test_more_restarts_never_do_worse(norm: BallNorm, targeted: bool) -> None:
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
        ).adv_images
        logits = model.logits(adv_images)
        hit = (logits.argmax(axis=1) == aims) == targeted
        return hit, cross_entropy(logits, aims) * (-1 if targeted else 1)

    results = [attacked(restarts) for restarts in (1, 2, 6)]
    for (fewer_hits, fewer_loss), (more_hits, more_loss) in itertools.pairwise(results):
        assert np.all(more_hits >= fewer_hits)
        assert np.all((more_loss >= fewer_loss - 1e-6) | (more_hits > fewer_hits))
    assert np.any(results[-1][1] > results[0][1] + 1e-3)


def test_a_restart_that_succeeds_beats_one_of_a_higher_loss_that_fails() -> None:
    class Trap(LinearModel):
        """Nowhere a gradient. Brighter: a high loss, yet the right answer, 0. Darker: a lower loss and a wrong one."""

        def logits(self, images: Any) -> Any:
            brighter = images.mean(axis=(1, 2, 3)) > 0.5
            return np.where(brighter[:, None], [[2.0, 1.9, 1.9]], [[2.0, 2.5, -9.0]]).astype(np.float32)

        def vector_jacobian(self, images: Any, cotangent: Cotangent) -> tuple[Any, Any]:
            return self.logits(images), np.zeros_like(images)

    model, images, labels = Trap(weights()), np.full((8, 1, 28, 28), 0.5, np.float32), np.zeros(8, np.int64)
    rng = np.random.default_rng(0)
    adv_images = pgd(model, images, labels, eps=0.1, steps=1, restarts=10, rng=rng).adv_images
    assert model.logits(adv_images).argmax(axis=1).tolist() == 8 * [1]


@pytest.mark.parametrize("norm", EPS)
def test_an_image_is_attacked_as_if_it_were_alone(norm: BallNorm) -> None:
    model, images = WavyModel(weights()), images_in()
    labels = labels_of(model, images)
    together = walk(model, images, labels, norm)
    alone = [walk(model, images[i : i + 1], labels[i : i + 1], norm) for i in range(len(images))]
    assert np.allclose(together, np.concatenate(alone), atol=1e-5)


def test_a_vanishing_gradient_still_gives_a_step_of_full_length() -> None:
    class Sure(LinearModel):
        def loss_gradient(self, images: Any, labels: Any) -> tuple[Any, Any]:
            logits, gradient = super().loss_gradient(images, labels)
            return logits, gradient * np.float32(1e-30)

    images = images_in(0.4, 0.6)
    adv_images = fgsm(Sure(weights()), images, np.zeros(len(images), np.int64), eps=2.0, norm="l2").adv_images
    assert np.allclose(perturbation_size(images, adv_images, "l2"), 2.0, atol=1e-4)


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
    short = walk(model, images, labels_of(model, images), "linf", step_size=0.01)
    assert perturbation_size(images, short, "linf").max() == pytest.approx(0.07, abs=1e-6)


def test_a_random_start_fills_the_ball_uniformly() -> None:
    rng = np.random.default_rng(0)
    images = np.zeros((400, 1, 1, 2), np.float32)
    flat = random_start(images, 0.5, "linf", rng)
    assert np.abs(flat).max() <= 0.5
    assert float(np.abs(flat).mean()) == pytest.approx(0.25, abs=0.02)
    lengths = np.sqrt((random_start(images, 0.5, "l2", rng) ** 2).sum(axis=(1, 2, 3)))
    assert lengths.max() <= 0.5 + 1e-6
    # In two dimensions the length is distributed as the root of a uniform one: its mean is 2/3 of the radius.
    assert float(lengths.mean()) == pytest.approx(1 / 3, abs=0.02)
