"""Adversarial training of a purifier on a tiny classifier: what the attack walks through, how far, what is kept."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

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
from training.robust_recipes import ROBUST, ROBUST_DEFENSE, RobustPolish

_CPU = torch.device("cpu")
_SCHEDULE = Schedule(epochs=2, batch_size=8, learning_rate=1e-3, weight_decay=0.0, warmup_steps=1)
_CONFIG = replace(
    ROBUST["mnist", ROBUST_DEFENSE],
    schedule=_SCHEDULE,
    polish=RobustPolish(replace(_SCHEDULE, epochs=1), attack_steps=5, classifier_share=0.5),
    ramp=0.5,
    attack_steps=2,
    classifier_share=0.25,
)


def _examples(n: int = 16) -> Examples:
    generator = torch.Generator().manual_seed(0)
    return Examples(torch.rand(n, 1, 28, 28, generator=generator), torch.arange(n) % 10)


def _train(folder: Path, classifier: nn.Module) -> nn.Module:
    return train_robust.train_robust(
        _examples(), _examples(), classifier, config=_CONFIG, device=_CPU, folder=folder / "mnist" / ROBUST_DEFENSE
    )


@pytest.fixture(name="classifier")
def _classifier() -> nn.Module:
    torch.manual_seed(0)
    return freeze(TinyClassifier())


def test_the_budget_rises_the_classifier_stays_and_the_purifier_alone_is_kept(
    classifier: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "_LOG_EVERY", 1)
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    purifier = _train(tmp_path, classifier)

    folder = tmp_path / "mnist" / ROBUST_DEFENSE
    with (folder / "losses.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["eps"]) for row in rows] == pytest.approx([0.15, 0.3, 0.3, 0.3])
    assert all(float(row[name]) > 0 for row in rows for name in ("read", "squared_error", "cross_entropy"))
    with (folder / "epochs.csv").open(newline="") as file:
        assert {"clean", "robust", "mean_accuracy"} <= set(next(csv.DictReader(file)))
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    stored = torch.load(folder / "weights.pt", weights_only=True)
    assert set(stored) == set(RobustAutoencoder().state_dict())
    assert all(torch.equal(value, stored[name]) for name, value in purifier.state_dict().items())


def test_a_run_that_was_interrupted_ends_in_the_same_weights(
    classifier: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _train(tmp_path / "whole", classifier)
    calls = 0
    step = fitting._step

    def stopping(*given: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 4:  # one after the first epoch and its checkpoint
            raise KeyboardInterrupt
        return step(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(fitting, "_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "broken", classifier)
    again = _train(tmp_path / "broken", classifier)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())


def test_the_walk_goes_up_the_readers_loss_and_stays_in_the_ball() -> None:
    torch.manual_seed(1)
    pair = train_robust._Pair(RobustAutoencoder())
    examples = _examples()
    noise = pair.purifier.draw_noise(len(examples), _CPU)

    def loss(images: Tensor) -> float:
        with torch.no_grad():
            return nn.functional.cross_entropy(pair.read(images, noise), examples.labels).item()

    walked = train_robust._walk(
        lambda watched: pair.read(watched, noise), examples.images, examples.labels, 0.2, 4, np.random.default_rng(0)
    )
    by_chance = (examples.images + 0.2 * torch.randn_like(examples.images).sign()).clamp(0, 1)
    assert 0.19 < (walked - examples.images).abs().max().item() <= 0.2 + 1e-6
    assert 0 <= walked.min().item() <= walked.max().item() <= 1
    assert loss(walked) - loss(examples.images) > 3 * abs(loss(by_chance) - loss(examples.images))


def test_the_classifier_teaches_the_reader_and_is_itself_obeyed(classifier: nn.Module) -> None:
    """The disagreement moves the reader towards the classifier; the classifier's loss moves the decoder."""
    torch.manual_seed(1)
    pair = train_robust._Pair(RobustAutoencoder())
    loss = train_robust._objective(_examples(), pair, classifier, _CONFIG, _CPU, total_steps=4)(torch.arange(8), 0)[0]
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None for weight in pair.parameters())
    assert all(weight.grad is None for weight in classifier.parameters())


def test_the_polish_walks_longer_at_the_whole_budget(classifier: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = train_robust._Pair(RobustAutoencoder())
    walks: list[tuple[float, int]] = []

    def noted(model: object, images: Tensor, labels: Tensor, eps: float, steps: int, rng: object) -> Tensor:
        walks.append((eps, steps))
        return images

    monkeypatch.setattr(train_robust, "_walk", noted)
    for config in (_CONFIG, _CONFIG.polished()):
        train_robust._objective(_examples(), pair, classifier, config, _CPU, total_steps=4)(torch.arange(8), 0)
    assert walks == [(0.15, 2), (0.3, 5)]


@pytest.mark.parametrize("polished_is_better", [True, False])
def test_the_polish_is_kept_where_the_validation_split_likes_it_better(
    classifier: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, polished_is_better: bool
) -> None:
    verdicts = iter([0.4, 0.5, 0.6 if polished_is_better else 0.45])
    monkeypatch.setattr(train_robust, "_adaptive_validation", lambda *_: lambda: {"mean_accuracy": next(verdicts)})
    purifier = _train(tmp_path, classifier)
    folder = tmp_path / "mnist" / ROBUST_DEFENSE / ("polish" if polished_is_better else "")
    best = torch.load(folder / "checkpoint.pt", weights_only=True)["state"]["best_weights"]
    assert all(
        torch.allclose(value, best[f"purifier.{name}"], atol=1e-3) for name, value in purifier.state_dict().items()
    )


def test_every_way_from_image_to_image_leads_through_the_code() -> None:
    torch.manual_seed(1)
    purifier = RobustAutoencoder(noise_std=0.5)
    images, noise = _examples().images, purifier.draw_noise(16, _CPU)
    codes = purifier.encode(images, noise)
    assert codes.shape == noise.shape == (16, 64)
    assert torch.equal(purifier(images, noise), purifier.decode(codes))
    assert torch.allclose(codes - purifier.encode(images, torch.zeros_like(noise)), 0.5 * noise, atol=1e-5)


def test_walked_and_unattacked_images_are_both_shown_to_the_classifier() -> None:
    places = train_robust._spread(128, 0.125)
    assert len(places) == 16
    assert (int(places[0]), int(places[-1])) == (0, 127)
    assert sum(int(place) >= 96 for place in places) == 4  # the last quarter is not attacked


@pytest.mark.parametrize("dataset", ["mnist", "fashion-mnist"])
def test_the_recipes_attack_within_the_budgets_they_are_judged_at(dataset: str) -> None:
    config = ROBUST[dataset, ROBUST_DEFENSE]
    assert config.eps == {"mnist": 0.3, "fashion-mnist": 0.1}[dataset]
    assert 1 < config.attack_steps < config.polish.attack_steps  # few steps overfit
    assert 0 < config.clean < 1
