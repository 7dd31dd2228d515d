"""A purifier's stages, mixes and losses, on a tiny classifier and a few images."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.training.tiny_classifier import TinyClassifier
from training import fitting
from training.attacked_examples import AttackedExamples, attack_training_set
from training.config import ONE_ATTACK, PURIFIERS, Polish, PurifierConfig, Schedule
from training.data import Examples
from training.pipeline import freeze
from training.purifiers.autoencoder import Autoencoder
from training.train_purifier import train_purifier

_CPU = torch.device("cpu")
_SCHEDULE = Schedule(epochs=1, batch_size=8, learning_rate=1e-3, weight_decay=0.0, warmup_steps=1)
_CONFIG = PurifierConfig(
    "autoencoder_paper",
    _SCHEDULE,
    noise_std=0.1,
    attacked_images=8,
    polish=(Polish(_SCHEDULE, 0.5, 0.25, 0.25, classifier_weight=0.1, agreement_weight=0.1),),
)


def _examples(n: int = 16) -> Examples:
    generator = torch.Generator().manual_seed(0)
    return Examples(torch.rand(n, 1, 28, 28, generator=generator), torch.arange(n) % 10)


@pytest.fixture(name="classifier")
def _classifier() -> nn.Module:
    torch.manual_seed(0)
    return freeze(TinyClassifier())


def _attacked(classifier: nn.Module, folder: Path) -> AttackedExamples:
    return attack_training_set(classifier, _examples(), config=_CONFIG, device=_CPU, folder=folder / "attacks" / "16")


def test_each_polish_goes_on_from_the_best_of_the_stage_before_with_its_own_mix(
    classifier: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "_LOG_EVERY", 1)
    attacked = _attacked(classifier, tmp_path)
    module = train_purifier(
        attacked,
        _examples(),
        classifier,
        config=_CONFIG,
        device=_CPU,
        folder=tmp_path / "mnist" / "purifier",
        attacks=tmp_path / "attacks" / "validation",
    )

    first = _logged(tmp_path / "mnist" / "purifier")
    later = _logged(tmp_path / "mnist" / "purifier" / "polish-1")
    assert all(math.isnan(float(row[name])) for row in first for name in ("cross_entropy", "gate"))
    assert all(float(row["cross_entropy"]) > 0 and float(row["disagreement"]) > 0 for row in later)
    stored = torch.load(tmp_path / "mnist" / "purifier" / "weights.pt", weights_only=True)
    assert all(torch.equal(value, stored[name]) for name, value in module.state_dict().items())


def test_a_stage_is_the_configuration_with_the_polish_put_over_it() -> None:
    first, polish = _CONFIG.stages()

    assert first == _CONFIG
    assert (polish.clean, polish.fgsm, polish.pgd, polish.agreement_weight) == (0.5, 0.25, 0.25, 0.1)
    assert (polish.architecture, polish.noise_std, polish.classifier_epoch) == ("autoencoder_paper", 0.1, 0)


@pytest.mark.parametrize(("dataset", "name"), sorted(ONE_ATTACK))
def test_a_purifier_of_one_attack_learns_from_as_many_attacked_images_as_the_shipped_one(
    dataset: str, name: str
) -> None:
    shipped, alone = PURIFIERS[dataset, "autoencoder"].stages(), ONE_ATTACK[dataset, name].stages()
    attack, other = ("fgsm", "pgd") if name.endswith("fgsm") else ("pgd", "fgsm")
    for both, one in zip(shipped, alone, strict=True):
        assert getattr(one, other) == 0
        assert getattr(one, attack) == pytest.approx(both.fgsm + both.pgd)
        assert one.schedule == both.schedule


@pytest.mark.parametrize("config", [stage for config in PURIFIERS.values() for stage in config.stages()])
def test_the_shares_of_a_mix_leave_room_for_noisy_images(config: PurifierConfig) -> None:
    assert 0 < config.clean + config.fgsm + config.pgd < 1


def test_a_batch_holds_as_many_clean_images_as_its_mix_says(classifier: nn.Module, tmp_path: Path) -> None:
    attacked = _attacked(classifier, tmp_path)
    mostly_clean = replace(_CONFIG, clean=0.75, fgsm=0.125, pgd=0.125)

    images, chosen = attacked.batch(torch.arange(16), mostly_clean)

    untouched = (images == attacked.examples.images[chosen]).flatten(1).all(dim=1)
    assert int(untouched.sum()) == 12


def test_the_clean_logits_are_the_classifiers_and_are_made_once(classifier: nn.Module, tmp_path: Path) -> None:
    made = _attacked(classifier, tmp_path).clean_logits

    expected = classifier(_examples().images)
    assert made.shape == (16, 10)
    assert torch.allclose(made, expected, atol=0.05 * float(expected.abs().max()))

    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise AssertionError("asked again")

    assert torch.equal(_attacked(Broken(), tmp_path).clean_logits, made)


def test_a_gated_autoencoder_can_pass_an_image_bit_for_bit_and_an_open_one_redraws_it() -> None:
    torch.manual_seed(0)
    purifier = Autoencoder(gated=True).eval()
    images = _examples(2).images
    noise = torch.zeros(2, *purifier.noise_shape)
    last = [layer for layer in purifier.decoder if isinstance(layer, nn.Conv2d)][-1]
    with torch.no_grad():
        assert last.bias is not None
        last.weight[4:] = 0
        last.bias[4:] = 100
        kept = purifier(images, noise)
        last.bias[4:] = -100
        redrawn = purifier(images, noise)

    assert torch.equal(kept, images)
    assert not torch.allclose(redrawn, images, atol=0.05)


def test_a_gated_purifier_is_told_which_images_are_unattacked(
    classifier: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "_LOG_EVERY", 1)
    attacked = _attacked(classifier, tmp_path)
    config = PurifierConfig("autoencoder_gated", _SCHEDULE, 0.1, clean=0.5, fgsm=0.4, pgd=0.0, gate_weight=1.0)

    train_purifier(
        attacked,
        _examples(),
        classifier,
        config=config,
        device=_CPU,
        folder=tmp_path / "mnist" / "purifier",
        attacks=tmp_path / "attacks" / "validation",
    )

    assert all(float(row["gate"]) > 0 for row in _logged(tmp_path / "mnist" / "purifier"))


def _logged(folder: Path) -> list[dict[str, str]]:
    with (folder / "losses.csv").open(newline="") as file:
        return list(csv.DictReader(file))
