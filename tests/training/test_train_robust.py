"""Adversarial training of a purifier on a tiny classifier: what the attack walks through, how far, what is kept."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.training.tiny_classifier import TinyClassifier
from training import fitting, train_robust
from training.config import Schedule
from training.data import Examples
from training.pipeline import freeze
from training.purifiers.robust_autoencoder import RobustAutoencoder
from training.robust_recipes import ROBUST, ROBUST_DEFENSE, DrawingConfig, ReadingConfig

_CPU = torch.device("cpu")
_SCHEDULE = Schedule(epochs=2, batch_size=8, learning_rate=1e-3, weight_decay=0.0, warmup_steps=1)
_DRAWING = DrawingConfig(replace(_SCHEDULE, epochs=1), attack_steps=3)
_READING = ReadingConfig(_SCHEDULE, attack_steps=2, step_size=1.25, ramp=0.5, horizontal_flip=True)
_LONGER = ReadingConfig(replace(_SCHEDULE, epochs=1), attack_steps=3, step_size=0.5, patterned=0.5)
_CONFIG = replace(ROBUST["mnist", ROBUST_DEFENSE], readings=(_READING, _LONGER), drawing=_DRAWING)
_FIRST_READING, _EVERY_READING = 4, 6  # steps


def _examples(n: int = 16) -> Examples:
    generator = torch.Generator().manual_seed(0)
    return Examples(torch.rand(n, 1, 28, 28, generator=generator), torch.arange(n) % 10)


def _train(folder: Path, classifier: nn.Module) -> nn.Module:
    return train_robust.train_robust(
        _examples(), _examples(), classifier, config=_CONFIG, device=_CPU, folder=folder / "mnist" / ROBUST_DEFENSE
    )


def _best(folder: Path) -> dict[str, Tensor]:
    """The weights that a stage ended with."""
    best: dict[str, Tensor] = torch.load(folder / "checkpoint.pt", weights_only=True)["state"]["best_weights"]
    return best


def _moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """The parts whose weights differ."""
    return {name.split(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}


@pytest.fixture(name="classifier")
def _classifier() -> nn.Module:
    torch.manual_seed(0)
    return freeze(TinyClassifier())


@pytest.fixture(name="purifier")
def _purifier() -> RobustAutoencoder:
    torch.manual_seed(1)
    return RobustAutoencoder()


def test_the_budget_rises_and_only_the_purifier_is_trained_and_kept(
    classifier: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "_LOG_EVERY", 1)
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    purifier = _train(tmp_path, classifier)

    folder = tmp_path / "mnist" / ROBUST_DEFENSE
    read = ("read", "squared_error")
    terms = {"reading-1": read, "reading-2": read, ".": ("disagreement", "squared_error")}
    budgets = {"reading-1": [0.15, 0.3, 0.3, 0.3], "reading-2": [0.3, 0.3]}
    for stage, names in terms.items():
        with (folder / stage / "losses.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert all(float(row[name]) > 0 for row in rows for name in names)
        if stage in budgets:
            assert [float(row["eps"]) for row in rows] == pytest.approx(budgets[stage])
        with (folder / stage / "epochs.csv").open(newline="") as file:
            assert {"clean", "robust", "mean_accuracy"} <= set(next(csv.DictReader(file)))
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    stored = torch.load(folder / "weights.pt", weights_only=True)
    assert set(stored) == set(RobustAutoencoder().state_dict())
    assert all(torch.equal(value, stored[name]) for name, value in purifier.state_dict().items())


def test_the_last_stage_moves_the_decoder_alone(classifier: nn.Module, tmp_path: Path) -> None:
    _train(tmp_path, classifier)
    folder = tmp_path / "mnist" / ROBUST_DEFENSE
    before, after = _best(folder / "reading-2"), _best(folder)
    assert _moved(before, after) == {"decoder", "marks"}
    assert not before["marks.weight"].any()


def test_readings_keep_their_best_epoch_and_the_last_stage_its_last(
    classifier: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[str | None] = []
    fit = fitting.fit

    def noted(job: fitting.Job, *given: Any) -> Mapping[str, float]:
        kept.append(job.select)
        return fit(job, *given)

    monkeypatch.setattr(train_robust, "fit", noted)
    _train(tmp_path, classifier)
    assert kept == ["mean_accuracy", "mean_accuracy", None]


def test_the_second_stage_goes_on_from_the_first(classifier: nn.Module, tmp_path: Path) -> None:
    _train(tmp_path, classifier)
    folder = tmp_path / "mnist" / ROBUST_DEFENSE
    before, after = _best(folder / "reading-1"), _best(folder / "reading-2")
    assert _moved(before, after) == {"encoder", "reader", "decoder"}
    # Two steps of Adam at 1e-3 lead nowhere else.
    assert max((value - before[name]).abs().max().item() for name, value in after.items()) < 0.01


@pytest.mark.parametrize("stop", [3, _FIRST_READING + 2, _EVERY_READING + 2])
def test_a_run_that_was_interrupted_ends_in_the_same_weights(
    classifier: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    monkeypatch.setattr(fitting, "_CHECKPOINT_EVERY", 1)
    whole = _train(tmp_path / "whole", classifier)
    calls = 0
    step = fitting._step

    def stopping(*given: object) -> object:
        nonlocal calls
        calls += 1
        if calls == stop:
            raise KeyboardInterrupt
        return step(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(fitting, "_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "broken", classifier)
    again = _train(tmp_path / "broken", classifier)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())


def test_a_walk_goes_up_its_models_loss_and_stays_in_the_ball(purifier: RobustAutoencoder) -> None:
    examples = _examples()
    noise = purifier.draw_noise(len(examples), _CPU)

    def read(images: Tensor) -> Tensor:
        return purifier.read(purifier.encode(images, noise))

    def loss(images: Tensor) -> float:
        with torch.no_grad():
            return nn.functional.cross_entropy(read(images), examples.labels).item()

    walked = train_robust.walk(read, examples.images, examples.labels, eps=0.2, steps=4, rng=np.random.default_rng(0))
    by_chance = (examples.images + 0.2 * torch.randn_like(examples.images).sign()).clamp(0, 1)
    assert 0.19 < (walked - examples.images).abs().max().item() <= 0.2 + 1e-6
    assert 0 <= walked.min().item() <= walked.max().item() <= 1
    assert loss(walked) - loss(examples.images) > 3 * abs(loss(by_chance) - loss(examples.images))


def test_a_patterned_start_is_a_corner_of_the_ball_in_rectangles_of_one_sign(purifier: RobustAutoencoder) -> None:
    images = torch.full((64, 1, 28, 28), 0.5)
    labels = torch.zeros(64, dtype=torch.int64)

    def flat(watched: Tensor) -> Tensor:
        return torch.zeros(len(watched), 10) + 0 * watched.sum()

    starts = train_robust.walk(flat, images, labels, eps=0.2, steps=1, patterned=0.5, rng=np.random.default_rng(0))
    moved = (starts - images)[:, 0]
    corners, rest = moved[:32], moved[32:]
    assert torch.allclose(corners.abs(), torch.tensor(0.2))
    assert rest.abs().flatten(1).mean(dim=1) == pytest.approx(0.1, abs=0.02)
    # Far fewer changes of sign from pixel to pixel than by chance, and each start another one.
    changes = sum((corners.diff(dim=dim) != 0).float().mean().item() for dim in (1, 2))
    assert changes < 0.5
    assert len({tuple(corner.flatten().tolist()) for corner in corners}) > 28


def test_who_is_walked_through_what_and_how_far(
    purifier: RobustAutoencoder, classifier: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight images: six through the reader; then two through the classifier, four through the reader."""
    walks: list[tuple[object, ...]] = []

    def noted(
        model: Callable[[Tensor], Tensor],
        images: Tensor,
        labels: Tensor,
        *,
        eps: float,
        steps: int,
        step_size: float | None = None,
        patterned: float = 0.0,
        **_: object,
    ) -> Tensor:
        assert len(images) == len(labels)
        asked: list[Tensor] = []
        hook = classifier.register_forward_hook(lambda *_: asked.append(images))
        assert model(images).shape == (len(images), 10)
        hook.remove()
        walks.append(("classifier" if asked else "reader", len(images), eps, steps, step_size, patterned))
        return images

    monkeypatch.setattr(train_robust, "walk", noted)
    train_robust._reading(_examples(), purifier, _CONFIG, _READING, _CPU, total_steps=4)(torch.arange(8), 0)
    train_robust._reading(_examples(), purifier, _CONFIG, _LONGER, _CPU, total_steps=2)(torch.arange(8), 0)
    train_robust._drawing(_examples(), purifier, classifier, _CONFIG, _CPU)(torch.arange(8), 0)
    assert walks == [
        ("reader", 6, 0.15, 2, 1.25 * 0.15, 0.0),
        ("reader", 6, 0.3, 3, 0.15, 0.5),
        ("classifier", 2, 0.3, 3, None, 0.0),
        ("reader", 4, 0.3, 3, 0.15, 0.5),
    ]


def test_every_part_learns_from_the_first_stage_and_the_decoder_from_the_classifier(
    purifier: RobustAutoencoder, classifier: nn.Module
) -> None:
    loss = train_robust._reading(_examples(), purifier, _CONFIG, _LONGER, _CPU, total_steps=2)(torch.arange(8), 0)[0]
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None for weight in purifier.parameters())
    purifier.zero_grad()
    freeze(purifier.encoder)
    freeze(purifier.reader)
    by_pixels = replace(_CONFIG, drawing=replace(_DRAWING, pixel_weight=0.0))
    loss = train_robust._drawing(_examples(), purifier, classifier, by_pixels, _CPU)(torch.arange(8), 0)[0]
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is None for part in (purifier.encoder, purifier.reader) for weight in part.parameters())
    for part in (purifier.decoder, purifier.marks):
        assert any(bool(weight.grad.any()) for weight in part.parameters() if weight.grad is not None)
    assert all(weight.grad is None for weight in classifier.parameters())


def test_every_stage_sees_augmented_images(
    purifier: RobustAutoencoder, classifier: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []

    def noted(_: object, images: Tensor, *__: object, **___: object) -> Tensor:
        seen.append(images)
        return images

    monkeypatch.setattr(train_robust, "walk", noted)
    examples = _examples()
    whole = DrawingConfig(_SCHEDULE, through_classifier=0.0, clean=0.0)
    for turned in (True, False):
        stage = replace(_READING, clean=0.0, horizontal_flip=turned)
        config = replace(_CONFIG, readings=(stage,), drawing=whole)
        for loss in (
            train_robust._reading(examples, purifier, config, stage, _CPU, 4),
            train_robust._drawing(examples, purifier, classifier, config, _CPU),
        ):
            seen.clear()
            torch.manual_seed(0)
            loss(torch.arange(16), 0)
            images = seen[-1]
            mirrored = sum(
                torch.allclose(shown, image.flip(2), atol=1e-4)
                for shown, image in zip(images, examples.images, strict=True)
            )
            assert 4 < mirrored < 12 if turned else torch.allclose(images, examples.images, atol=1e-4)


def test_every_way_from_image_to_image_leads_through_the_code() -> None:
    torch.manual_seed(1)
    purifier = RobustAutoencoder(noise_std=0.5)
    images, noise = _examples().images, purifier.draw_noise(16, _CPU)
    codes = purifier.encode(images, noise)
    assert codes.shape == noise.shape == (16, 64)
    assert torch.equal(purifier(images, noise), purifier.decode(codes))
    assert torch.allclose(codes - purifier.encode(images, torch.zeros_like(noise)), 0.5 * noise, atol=1e-5)


def test_the_decoder_is_told_what_the_reader_says(purifier: RobustAutoencoder) -> None:
    codes = torch.randn(4, 64)
    before = purifier.decode(codes)
    with torch.no_grad():
        purifier.reader[-1].bias += torch.eye(10)[3]  # type: ignore[operator]
    assert not torch.allclose(purifier.decode(codes), before)


def test_a_class_that_is_told_leaves_its_mark_and_a_sure_reader_no_heavier_one(purifier: RobustAutoencoder) -> None:
    codes, told = torch.randn(1, 64), 10 * torch.eye(10)[3:4]
    unmarked = {float(scale): purifier.draw(codes, scale * told) for scale in (1, 10)}
    with torch.no_grad():
        purifier.marks.weight[:, 3] = torch.linspace(0, 1, 28**2)
    marks = {scale: (purifier.draw(codes, scale * told) - plain).flatten() for scale, plain in unmarked.items()}
    assert torch.allclose(marks[1.0] / marks[1.0].max(), torch.linspace(0, 1, 28**2), atol=1e-4)
    assert 1 <= (marks[10.0].max() / marks[1.0].max()).item() < 1.1


def test_of_two_classes_hardly_told_apart_one_mark_stands_out(purifier: RobustAutoencoder) -> None:
    codes, told = torch.randn(1, 64), torch.full((1, 10), -8.0)
    told[0, [3, 5]] = torch.tensor([4.0, 3.0])
    unmarked = purifier.draw(codes, told)
    with torch.no_grad():
        purifier.marks.weight[0, 3] = purifier.marks.weight[1, 5] = 1.0
    first, second = (purifier.draw(codes, told) - unmarked).flatten()[:2].tolist()
    assert first > 5 * abs(second)


def test_the_classifier_shall_answer_as_the_reader_does_and_more_steeply(
    purifier: RobustAutoencoder, classifier: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[Tensor] = []

    def noted(answers: Tensor, told: Tensor) -> Tensor:
        wanted.append(told)
        return answers.sum()

    monkeypatch.setattr(train_robust, "walk", lambda _, images, *__, **___: images)
    monkeypatch.setattr(train_robust, "_divergence", noted)
    for sharpness in (1.0, 3.0):
        config = replace(_CONFIG, drawing=replace(_DRAWING, clean=0.5, sharpness=sharpness))
        torch.manual_seed(0)
        train_robust._drawing(_examples(), purifier, classifier, config, _CPU)(torch.arange(8), 0)
    assert len(wanted[0]) == 12
    assert torch.allclose(wanted[1], 3 * wanted[0])


def test_the_classifier_learns_to_heed_what_is_told_whatever_the_code_says(
    purifier: RobustAutoencoder, classifier: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half as many pictures again are drawn, each from a code of the batch and told of another image of it."""
    drawn: list[tuple[Tensor, Tensor]] = []
    draw = RobustAutoencoder.draw

    def noted(self: RobustAutoencoder, codes: Tensor, told: Tensor) -> Tensor:
        drawn.append((codes, told))
        return draw(self, codes, told)

    monkeypatch.setattr(train_robust, "walk", lambda _, images, *__, **___: images)
    monkeypatch.setattr(RobustAutoencoder, "draw", noted)
    train_robust._drawing(_examples(), purifier, classifier, _CONFIG, _CPU)(torch.arange(8), 0)
    (codes, told), (mistold, lies) = drawn[-2:]
    assert (len(codes), len(mistold)) == (8, 4)
    assert torch.equal(told, purifier.read(codes))
    truths = [int(torch.where((codes == code).all(dim=1))[0]) for code in mistold]
    claimed = [int(torch.where((told == lie).all(dim=1))[0]) for lie in lies]
    assert sorted(truths) == sorted(claimed)
    assert all(mine != theirs for mine, theirs in zip(truths, claimed, strict=True))


@pytest.mark.parametrize("dataset", ["mnist", "fashion-mnist"])
def test_the_recipes_attack_within_the_budgets_they_are_judged_at(dataset: str) -> None:
    config = ROBUST[dataset, ROBUST_DEFENSE]
    assert config.eps == {"mnist": 0.3, "fashion-mnist": 0.1}[dataset]
    assert config.readings[0].attack_steps > 4  # fewer are outwitted
    assert config.readings[-1].attack_steps >= 10  # fewer mask the gradient
    assert all(stage.attack_steps * stage.step_size >= 2 for stage in config.readings)  # from side to side
    assert all(0 < stage.clean < 1 for stage in config.readings)
    assert config.drawing is not None


def test_a_shorter_run_has_so_many_epochs_of_each_stage() -> None:
    config = ROBUST["mnist", ROBUST_DEFENSE]
    short = config.shortened(1)
    assert short.drawing is not None
    assert [stage.schedule.epochs for stage in short.readings] == [1, 1]
    assert short.drawing.schedule.epochs == 1
    assert replace(short, readings=config.readings, drawing=config.drawing) == config
