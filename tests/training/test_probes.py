from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from service import manifest as manifests
from tests.training.rows import ROW
from training import canaries, foolbox_attacks
from training.bench import TestBench
from training.data import Examples
from training.outcome import FAILED, NOT_RUN, PASSED, Outcome
from training.probes import Probes
from training.served import load_classifier, load_pipeline
from training.white_boxes import Victim
from training.workers import Processes


@pytest.fixture
def probe(models: Path, examples: Examples) -> Iterator[Probes]:
    with Processes(1) as workers:
        bench = TestBench(Victim(models, "mnist", "cpu"), examples, models.parent / "cache", workers)
        yield Probes(bench, manifests.read(models), lambda: examples, n=20, costly=True)


def test_rows_at_eps_0_must_equal_the_clean_ones(probe: Probes) -> None:
    at_zero = replace(ROW, eps=0.0, robust_accuracy=ROW.clean_accuracy)
    assert probe.eval_mode([at_zero]).verdict == PASSED
    assert probe.eval_mode([]).verdict == NOT_RUN
    found = probe.eval_mode([replace(at_zero, robust_accuracy=0.98)])
    assert (found.verdict, "leaves 0.9800 of 0.9900" in found.why) == (FAILED, True)


def test_a_net_left_in_training_mode_is_found(probe: Probes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.probes.load_classifier", lambda *arguments: load_classifier(*arguments).train())
    assert "an attack changed the net" in probe.eval_mode([replace(ROW, eps=0.0, robust_accuracy=0.99)]).why


def test_accuracy_after_rounding_to_8_bits_is_reported(probe: Probes) -> None:
    found = probe.ball()
    assert found.verdict == PASSED
    assert set(found.measured) == {
        f"{attack}, {defense}, {bits}"
        for attack in ("FGSM 0.6", "PGD 0.15") for defense in ("none", "autoencoder") for bits in ("float", "8 bits")
    }  # fmt: skip


def test_our_attacks_equal_foolboxs_on_the_served_weights(probe: Probes) -> None:
    found = probe.cross_library(None)
    assert found.measured["fgsm_deviation"] <= 1e-6
    assert found.measured["images"] == 20
    assert found.measured["pgd_ours"] == pytest.approx(found.measured["pgd_foolbox"], abs=0.051)


def test_without_foolbox_the_check_says_what_is_missing(probe: Probes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foolbox_attacks, "is_installed", lambda: False)
    found = probe.cross_library(None)
    assert (found.verdict, "Foolbox is not installed" in found.why) == (NOT_RUN, True)


def test_costly_checks_are_not_repeated_unless_asked(probe: Probes, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Outcome(PASSED, "before.")
    assert probe.cross_library(kept) is kept
    assert probe.canaries([], kept) is kept
    assert replace(probe, costly=False).canaries([], None).verdict == NOT_RUN
    monkeypatch.setattr(foolbox_attacks, "is_installed", lambda: False)
    assert replace(probe, again=True).cross_library(kept) is kept


@pytest.mark.parametrize(
    ("undefended", "exact", "identity", "robust", "verdict"),
    [
        (0.0, 0.9, 0.0, 0.7, PASSED),
        (0.5, 0.9, 0.0, 0.7, FAILED),
        (0.0, 0.9, 0.5, 0.7, FAILED),
        (0.0, 0.9, 0.0, 0.1, FAILED),
    ],
)
def test_canaries_must_fall_and_stand_as_they_should(
    probe: Probes, monkeypatch: pytest.MonkeyPatch, undefended: float, exact: float, identity: float, robust: float,
    verdict: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(canaries, "robust_net", lambda *_: canaries.SmallNet())
    monkeypatch.setattr(canaries, "attack_fake_defense", lambda *_: (round(20 * exact), round(20 * identity)))
    monkeypatch.setattr(canaries, "attack_robust_net", lambda *_: (20, round(20 * robust)))
    row = replace(ROW, defense="none", noise="", attack="pgd", eps=0.15, robust_accuracy=undefended)
    assert probe.canaries([row], None).verdict == verdict


def test_the_fake_defence_hides_its_gradient_and_nothing_else(
    models: Path, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = _fitted(examples)
    monkeypatch.setattr(canaries, "classifier", lambda _: net)
    monkeypatch.setattr(canaries, "HEADLINE_PGD_EPS", 0.6)
    images, labels = examples.images[:20].numpy(), examples.labels[:20].numpy()
    exact, identity = canaries.attack_fake_defense(Victim(models, "mnist", "cpu"), images, labels, 0)
    assert exact > identity
    assert identity == 0


def test_adversarial_training_keeps_a_net_and_gives_it_back(examples: Examples, tmp_path: Path) -> None:
    path = tmp_path / "canary.pt"
    net = canaries.robust_net(path, lambda: examples)
    clean, robust = canaries.attack_robust_net(net, examples.images.numpy(), examples.labels.numpy(), 0)
    assert 0 <= robust <= clean <= 60
    again = canaries.robust_net(path, lambda: pytest.fail("trained again"))
    assert all(torch.equal(kept, made) for kept, made in zip(again.parameters(), net.parameters(), strict=True))


def test_parity_finds_graphs_that_answer_otherwise(probe: Probes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe.parity().verdict == PASSED

    def shifted(*arguments: object) -> nn.Module:
        pipeline = load_pipeline(*arguments)  # type: ignore[arg-type]
        pipeline.classifier.head.bias.add_(torch.linspace(0, 1, 10))  # type: ignore[union-attr, operator]
        return pipeline

    monkeypatch.setattr("training.probes.load_pipeline", shifted)
    assert probe.parity().verdict == FAILED


def test_parity_finds_attacks_that_walk_another_gradient(
    probe: Probes, served_classifier: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert probe.parity().measured["gradient_deviation"] <= 1e-3
    with torch.no_grad():
        served_classifier.head.bias.add_(torch.linspace(0, 1, 10))  # type: ignore[union-attr, operator]
    monkeypatch.setattr("training.white_boxes._classifier", lambda *_: served_classifier)
    found = probe.parity()
    assert (found.verdict, "gradients that attacks walk within" in found.why) == (FAILED, True)


def _fitted(examples: Examples) -> nn.Module:
    """A linear net that knows where the bright band lies."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    layer = net[1]
    assert isinstance(layer, nn.Linear)
    means = np.stack([examples.images[examples.labels == label].numpy().mean(0).ravel() for label in range(10)])
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(means))
        layer.bias.zero_()
    return net.eval().requires_grad_(False)
