"""Adversarial training of a purifier on a tiny classifier: what the attack walks through, how far, what is kept."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.training.tiny_classifier import TinyClassifier
from training import fitting, train_robust
from training.classifiers.student import Student
from training.config import ROBUST, ROBUST_DEFENSE, RobustConfig, Schedule
from training.data import Examples
from training.pipeline import Purifier, freeze
from training.purifiers import ARCHITECTURES

_CPU = torch.device("cpu")
_SCHEDULE = Schedule(epochs=1, batch_size=8, learning_rate=1e-3, weight_decay=0.0, warmup_steps=1)
_CONFIG = replace(
    ROBUST["mnist", ROBUST_DEFENSE],
    student=_SCHEDULE,
    schedule=replace(_SCHEDULE, epochs=2),
    polish=_SCHEDULE,
    polish_images=8,
    ramp=0.5,
    attack_steps=2,
)


def _examples(n: int = 16) -> Examples:
    generator = torch.Generator().manual_seed(0)
    return Examples(torch.rand(n, 1, 28, 28, generator=generator), torch.arange(n) % 10)


def _train(folder: Path, classifier: nn.Module, config: RobustConfig = _CONFIG) -> nn.Module:
    return train_robust.train_robust(
        _examples(), _examples(), classifier, config=config, device=_CPU, folder=folder / "mnist" / ROBUST_DEFENSE
    )


@pytest.fixture(name="classifier")
def _classifier() -> nn.Module:
    torch.manual_seed(0)
    return freeze(TinyClassifier())


def test_the_budget_rises_and_the_classifier_itself_has_the_last_word(
    classifier: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "_LOG_EVERY", 1)
    seen: list[type[nn.Module]] = []
    through = train_robust._through

    def noted(purifier: Purifier, reader: nn.Module, noise: Tensor) -> object:
        seen.append(type(reader))
        return through(purifier, reader, noise)

    monkeypatch.setattr(train_robust, "_through", noted)
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    module = _train(tmp_path, classifier)

    folder = tmp_path / "mnist" / ROBUST_DEFENSE
    with (folder / "losses.csv").open(newline="") as file:
        budgets = [float(row["eps"]) for row in csv.DictReader(file)]
    assert budgets == pytest.approx([0.15, 0.3, 0.3, 0.3])
    with (folder / "polish" / "losses.csv").open(newline="") as file:
        assert [float(row["eps"]) for row in csv.DictReader(file)] == [0.3]
    assert seen == [Student] * 4 + [TinyClassifier]
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    stored = torch.load(folder / "weights.pt", weights_only=True)
    assert all(torch.equal(value, stored[name]) for name, value in module.state_dict().items())


def test_a_run_that_was_interrupted_ends_in_the_same_weights(
    classifier: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _train(tmp_path / "whole", classifier)
    calls = 0
    step = fitting._step

    def stopping(*given: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 5:  # the student's two steps, the first epoch's two, and one more
            raise KeyboardInterrupt
        return step(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(fitting, "_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "broken", classifier)
    again = _train(tmp_path / "broken", classifier)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())


def test_the_walk_goes_through_the_purifier_up_the_loss_and_stays_in_the_ball(classifier: nn.Module) -> None:
    torch.manual_seed(1)
    purifier = cast(Purifier, ARCHITECTURES[ROBUST_DEFENSE](0.0))
    examples = _examples()
    noise = torch.zeros(len(examples), *purifier.noise_shape)
    rng = np.random.default_rng(0)
    through = train_robust._through(purifier, classifier, noise)
    walked = train_robust._walk(through, examples.images, examples.labels, 0.2, _CONFIG, rng)

    moved = (walked - examples.images).abs().max().item()
    assert 0.19 < moved <= 0.2 + 1e-6
    assert 0 <= walked.min().item() <= walked.max().item() <= 1
    with torch.no_grad():
        before, after = (nn.functional.cross_entropy(through(x), examples.labels) for x in (examples.images, walked))
        noise_alone = (examples.images + 0.2 * (2 * torch.rand_like(examples.images) - 1)).clamp(0, 1)
        by_chance = nn.functional.cross_entropy(through(noise_alone), examples.labels)
    assert after > before
    assert after - before > 3 * (by_chance - before)


@pytest.mark.parametrize("dataset", ["mnist", "fashion-mnist"])
def test_the_recipes_attack_within_the_budgets_they_are_judged_at(dataset: str) -> None:
    config = ROBUST[dataset, ROBUST_DEFENSE]
    assert config.eps == {"mnist": 0.3, "fashion-mnist": 0.1}[dataset]
    assert config.attack_steps > 1  # one step overfits
    assert 0 < config.clean < 1
