from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from service.attacks import fgsm, perturbation_size
from training.bench import TestBench
from training.crafting import adversarial, attack_folder, chunks, craft, is_missing, keep
from training.data import Examples
from training.measurement import CLEAN, AttackSpec, View
from training.pipeline import TorchWhiteBox
from training.white_boxes import Victim
from training.workers import Processes

PGD = AttackSpec("pgd", 0.2, steps=2, random_start=True)


def _crafted(victim: Victim, spec: AttackSpec, test: Examples, cache: Path) -> np.ndarray:
    parts = list(chunks(test))
    for chunk in parts:
        if is_missing(victim, spec, chunk, cache):
            keep(victim, spec, chunk, craft(victim, spec, chunk), cache)
    return np.concatenate([adversarial(victim, spec, chunk, cache) for chunk in parts])


def test_crafted_images_do_not_depend_on_how_many_are_asked_for(models: Path, examples: Examples) -> None:
    many = Examples(examples.images.repeat(4, 1, 1, 1), examples.labels.repeat(4))
    victim = Victim(models, "mnist", "cpu")
    few = _crafted(victim, PGD, many.first(200), models.parent / "few")
    all_of_them = _crafted(victim, PGD, many, models.parent / "all")
    np.testing.assert_array_equal(all_of_them[:200], few)
    assert not np.array_equal(all_of_them[200:], few[:40])


def test_the_beginning_of_a_kept_chunk_serves_fewer_images(models: Path, examples: Examples) -> None:
    many = Examples(examples.images.repeat(4, 1, 1, 1), examples.labels.repeat(4)).first(200)
    victim, cache = Victim(models, "mnist", "cpu"), models.parent / "cache"
    kept = _crafted(victim, PGD, many, cache)
    (chunk,) = chunks(many.first(30))
    assert not is_missing(victim, PGD, chunk, cache)
    np.testing.assert_array_equal(adversarial(victim, PGD, chunk, cache), kept[:30])


@pytest.mark.parametrize("eps", [0.0, 0.1, 0.6, 1.5])
def test_one_kept_direction_gives_fgsm_at_every_eps(
    models: Path, served_classifier: nn.Module, examples: Examples, eps: float
) -> None:
    victim, cache = Victim(models, "mnist", "cpu"), models.parent / "cache"
    _crafted(victim, AttackSpec("fgsm", 0.3), examples, cache)
    assert not any(is_missing(victim, AttackSpec("fgsm", eps), chunk, cache) for chunk in chunks(examples))
    expected = fgsm(TorchWhiteBox(served_classifier), examples.images, examples.labels, eps=eps).adv_images
    np.testing.assert_array_equal(_crafted(victim, AttackSpec("fgsm", eps), examples, cache), expected.numpy())


def test_fgsm_towards_the_least_likely_class_goes_down_that_classs_loss(
    models: Path, served_classifier: nn.Module, examples: Examples
) -> None:
    model = TorchWhiteBox(served_classifier)
    targets = model.logits(examples.images).argmin(1)
    expected = fgsm(model, examples.images, targets, eps=0.3, targeted=True).adv_images
    spec = AttackSpec("fgsm", 0.3, label="least_likely")
    found = _crafted(Victim(models, "mnist", "cpu"), spec, examples, models.parent / "cache")
    np.testing.assert_array_equal(found, expected.numpy())


def test_random_noise_stands_in_every_corner_of_the_ball_and_is_the_same_again(
    models: Path, examples: Examples
) -> None:
    spec = AttackSpec("random_noise", 0.1, defense="autoencoder")
    victim, cache = Victim(models, "mnist", "cpu"), models.parent / "cache"
    found = _crafted(victim, spec, examples, cache)
    np.testing.assert_array_equal(found, _crafted(victim, spec, examples, cache))
    moved = found - examples.images.numpy()
    np.testing.assert_allclose(sorted(set(np.unique(moved.round(6)))), [-0.1, 0.0, 0.1], atol=1e-6)


def test_what_the_nearest_attack_found_counts_within_the_radius_alone(models: Path, examples: Examples) -> None:
    few, cache = examples.first(20), models.parent / "cache"
    victim, spec = Victim(models, "mnist", "cpu"), AttackSpec("ddn", 28.0, steps=20, norm="l2")
    images = few.images.numpy()
    found = _crafted(victim, spec, few, cache)
    sizes = perturbation_size(images, found, "l2")
    middle = float(np.median(sizes[sizes > 0]))
    within = replace(spec, eps=middle)
    assert not any(is_missing(victim, within, chunk, cache) for chunk in chunks(few))
    near = _crafted(victim, within, few, cache)
    np.testing.assert_array_equal(near[sizes > middle], images[sizes > middle])
    np.testing.assert_array_equal(near[sizes <= middle], found[sizes <= middle])
    assert (sizes > middle).any()


def test_slow_attacks_are_shared_in_small_chunks(examples: Examples) -> None:
    assert [len(chunk.labels) for chunk in chunks(examples, "cw")] == [20, 20, 20]
    assert [len(chunk.labels) for chunk in chunks(examples, "pgd")] == [60]


def test_images_that_were_kept_before_the_newer_settings_came_are_found_again(models: Path) -> None:
    victim = Victim(models, "mnist", "cpu")
    spec = AttackSpec("pgd", 0.15, steps=40, random_start=True)
    folder = attack_folder(victim, spec, Path("cache")).name
    assert folder.startswith("mnist-")
    assert folder.split("-", 2)[2] == "pgd-0.15-40-1-True-true-none-0"
    drawn = AttackSpec("pgd", 0.15, steps=40, random_start=True, defense="autoencoder", noise="drawn", eot=20)
    assert attack_folder(victim, drawn, Path("cache")).name.endswith("-True-true-autoencoder-0-noise-drawn-eot-20")


def test_answers_are_given_once_and_kept(models: Path, examples: Examples) -> None:
    with Processes(1) as workers:
        bench = TestBench(Victim(models, "mnist", "cpu"), examples, models.parent / "cache", workers)
        views = [View(), View("autoencoder", "zero"), View("autoencoder", "drawn"), View("autoencoder", "drawn", 1)]
        found = bench.answers(CLEAN, views, 60)
        assert not np.array_equal(found[views[2]], found[views[3]])
        again = bench.answers(CLEAN, views, 60)
    for view in views:
        np.testing.assert_array_equal(found[view], again[view])
