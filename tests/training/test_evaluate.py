from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from service.attacks import fgsm
from tests.training.tiny_classifier import TinyClassifier
from training import crafting, evaluate, results, served
from training.crafting import AttackSpec, Victim
from training.data import Examples
from training.errors import EvaluationError
from training.export import TrainedClassifier, TrainedPurifier, export_dataset
from training.pipeline import TorchWhiteBox, freeze
from training.protocols import PROTOCOLS, measurements
from training.purifiers.paper_autoencoder import PaperAutoencoder
from training.weights import round_to_stored_precision

CONFIG: dict[str, Any] = {"seed": 0, "architecture": "autoencoder_paper", "noise_std": 1.0}
CPU = torch.device("cpu")


@pytest.fixture
def models(classifier: nn.Module, examples: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(served, "VGG16", TinyClassifier)
    crafting._white_box.cache_clear()
    torch.manual_seed(0)
    purifier = PaperAutoencoder()
    for module in (classifier, purifier):
        round_to_stored_precision(module)
    many = Examples(examples.images.repeat(4, 1, 1, 1), examples.labels.repeat(4))
    trained = TrainedPurifier("autoencoder", freeze(purifier), CONFIG)
    export_dataset("mnist", TrainedClassifier(classifier, CONFIG), (trained,), test=many, models=tmp_path / "models")
    return tmp_path / "models"


def _evaluate(models: Path, examples: Examples, protocol: str) -> list[results.Row]:
    return evaluate.evaluate(
        *("mnist", protocol),
        test=examples,
        models=models,
        cache=models.parent / "cache",
        device=CPU,
        n=60,
        pgd_n=60,
        sweep_n=20,
    )


def test_rows_hold_the_accuracy_of_the_served_graphs_on_the_crafted_images(
    models: Path, classifier: nn.Module, examples: Examples
) -> None:
    rows = _evaluate(models, examples, "quick")
    assert {(row.attack, row.defense, row.noise) for row in rows} == {
        (attack, *judged) for attack in ("fgsm", "pgd") for judged in (("none", ""), ("autoencoder", "zero"))
    }
    undefended = next(row for row in rows if (row.attack, row.defense) == ("fgsm", "none"))
    adv_images = fgsm(TorchWhiteBox(classifier), examples.images, examples.labels, eps=0.6)
    expected = (classifier(adv_images).argmax(1) == examples.labels).float().mean().item()
    assert undefended.robust_accuracy == pytest.approx(expected, abs=1e-4)
    assert (undefended.knowledge, undefended.n) == ("oblivious", 60)
    assert sorted(results.read(models / "results.csv"), key=str) == sorted(rows, key=str)


def test_the_adaptive_protocol_attacks_through_the_purifier(models: Path, examples: Examples) -> None:
    (row,) = _evaluate(models, examples, "adaptive")
    assert (row.knowledge, row.defense, row.attack, row.n) == ("adaptive", "autoencoder", "pgd", 20)


def test_a_second_run_attacks_nothing_again(models: Path, examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _evaluate(models, examples, "quick")

    def fail(*_: object) -> None:
        raise AssertionError("attacked again")

    monkeypatch.setattr(crafting, "_craft_chunk", fail)
    assert _evaluate(models, examples, "quick") == first


def test_crafted_images_do_not_depend_on_how_many_are_asked_for(
    models: Path, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = Examples(examples.images.repeat(4, 1, 1, 1), examples.labels.repeat(4))
    monkeypatch.setattr(crafting, "usable_cpus", lambda: 1)
    spec = AttackSpec("pgd", 0.2, steps=2, random_start=True)
    victim = Victim(models, "mnist", "cpu")
    few = crafting.craft(victim, spec, many.first(200), models.parent / "few")
    all_of_them = crafting.craft(victim, spec, many, models.parent / "all")
    assert torch.equal(all_of_them[:200], few)


@pytest.mark.parametrize("change", [0.2001, float("nan")])
def test_images_outside_the_ball_stop_the_evaluation(change: float) -> None:
    images = torch.full((2, 1, 28, 28), 0.5)
    evaluate.check_ball(images, images + 0.2, 0.2)
    with pytest.raises(EvaluationError, match=r"allowed: \[0, 1\] and 0.2"):
        evaluate.check_ball(images, images + change, 0.2)


def test_images_outside_the_pixel_range_stop_the_evaluation() -> None:
    black = torch.zeros(2, 1, 28, 28)
    with pytest.raises(EvaluationError, match="span"):
        evaluate.check_ball(black, black - 0.1, 0.2)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_pgd_of_a_protocol_reaches_two_and_a_half_times_its_eps(protocol: str) -> None:
    for measurement in measurements(protocol, ("autoencoder",), n=100, pgd_n=100, sweep_n=10):
        spec = measurement.spec
        if spec.attack == "pgd":
            assert spec.steps == 40
            assert spec.steps * spec.step_size == pytest.approx(2.5 * spec.eps)
            assert spec.random_start
