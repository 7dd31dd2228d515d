"""One defense exported beside others: its graphs, and Defense-GAN's descent as a loop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from service import manifest as manifests
from service.catalog import Catalog
from tests.training.tiny_classifier import TinyClassifier
from training.data import Examples
from training.errors import ExportError
from training.export import export_defense
from training.parity import largest_deviation
from training.pipeline import freeze
from training.plans import TrainedClassifier, TrainedPurifier
from training.purifiers import ARCHITECTURES
from training.purifiers.defense_gan import DefenseGAN
from training.purifiers.puvae import PuVAE
from training.served import load_pipeline
from training.weights import round_to_stored_precision

CONFIG: dict[str, Any] = {"seed": 0, "architecture": "any", "noise_std": 1.0}


@pytest.fixture(name="test_images")
def _test_images(examples: Examples) -> Examples:
    repeated = torch.arange(240) % 60
    return Examples(examples.images[repeated], examples.labels[repeated])


def _rounded(module: nn.Module) -> nn.Module:
    if isinstance(module, PuVAE | DefenseGAN):
        drawing = module.decoder if isinstance(module, PuVAE) else module.generator
        with torch.no_grad():  # so that candidates are at distances whose order no rounding changes
            drawing.layers[-2].weight.mul_(30)  # type: ignore[operator]
    round_to_stored_precision(module)
    return freeze(module)


def test_a_purifier_takes_its_place_behind_the_others_and_leaves_them_as_they_are(
    models: Path, served_classifier: nn.Module, test_images: Examples
) -> None:
    before = manifests.read(models).graphs
    torch.manual_seed(0)
    trained = TrainedPurifier("puvae", _rounded(PuVAE()), CONFIG)
    after = export_defense("mnist", trained, test=test_images, models=models)
    assert after.graphs[: len(before)] == before
    assert [graph.kind for graph in after.graphs[len(before) :]] == ["purifier", "pipeline", "pipeline_gradient"]
    catalog = Catalog.load(models, "cpu")
    purifier = catalog.purifier("mnist", "puvae")
    assert purifier is not None
    images = test_images.images[:3]
    noise = np.random.default_rng(5).standard_normal((3, 10, 16), dtype=np.float32)
    expected = trained.module(images, torch.from_numpy(noise))
    np.testing.assert_allclose(purifier.purify(images.numpy(), seed=5), expected.numpy(), atol=1e-5)
    one_by_one = [purifier.purify(image[None], seed=None) for image in images.numpy()]
    np.testing.assert_array_equal(np.concatenate(one_by_one), purifier.purify(images.numpy()))


def test_defense_gan_descends_in_its_graph_as_in_torch_and_lends_its_gradient_from_the_classifier(
    models: Path, served_classifier: nn.Module, test_images: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    module = _rounded(DefenseGAN(steps=7, restarts=3))
    export_defense("mnist", TrainedPurifier("defense_gan", module, CONFIG), test=test_images, models=models)
    catalog = Catalog.load(models, "cpu")
    images, labels = test_images.images[:4], test_images.labels[:4]
    purifier = catalog.purifier("mnist", "defense_gan")
    assert purifier is not None
    assert purifier.graph.accuracy is not None
    found = purifier.purify(images.numpy())
    longer = DefenseGAN(steps=8, restarts=3)
    longer.load_state_dict(module.state_dict())
    zeros = torch.zeros(4, 3, 16)
    np.testing.assert_allclose(found, module(images, zeros).numpy(), atol=1e-5)
    assert np.abs(found - longer(images, zeros).detach().numpy()).max() > 1e-4
    _, gradient = catalog.white_box("mnist", "defense_gan").loss_gradient(images.numpy(), labels.numpy())
    _, at_purified = catalog.white_box("mnist").loss_gradient(found, labels.numpy())
    np.testing.assert_allclose(gradient, at_purified, atol=1e-6)
    entry = catalog.manifest.graph("mnist", "pipeline_gradient", "defense_gan")
    assert entry.training["gradient"] == "identity"
    assert {graph.slow for graph in catalog.manifest.graphs if graph.defense == "defense_gan"} == {True}
    monkeypatch.setitem(ARCHITECTURES, "any", lambda noise_std: DefenseGAN(noise_std, steps=7, restarts=3))
    again = load_pipeline(models, catalog.manifest, "mnist", "defense_gan").purifier
    np.testing.assert_allclose(again(images, zeros).numpy(), found, atol=1e-5)


def test_a_distilled_classifier_has_a_graph_and_a_gradient_of_its_own(models: Path, test_images: Examples) -> None:
    student = _rounded(TinyClassifier(seed=7))
    trained = TrainedClassifier(student, CONFIG, "distillation")
    before = manifests.read(models).graphs
    for _ in range(2):  # the second one in the place of the first
        after = export_defense("mnist", trained, test=test_images, models=models)
        assert after.graphs[: len(before)] == before
        own = [graph.name for graph in after.graphs[len(before) :]]
        assert own == ["mnist/distillation", "mnist/distillation_classifier_gradient"]
        assert after.graphs[-2].golden is not None


def test_a_defense_is_not_exported_before_another_classifier_than_the_shipped_one(
    models: Path, test_images: Examples
) -> None:
    path = models / "mnist" / "classifier.weights"
    path.write_bytes(path.read_bytes() + b"\0\0")
    manifest = (models / manifests.FILE_NAME).read_text()
    trained = TrainedPurifier("puvae", _rounded(PuVAE()), CONFIG)
    with pytest.raises(ExportError, match=r"classifier\.weights holds other weights"):
        export_defense("mnist", trained, test=test_images, models=models)
    assert json.loads(manifest) == json.loads((models / manifests.FILE_NAME).read_text())


def test_large_logits_may_differ_by_as_many_digits_as_small_ones() -> None:
    small = np.array([[30.0, -2.0]], np.float32)
    assert largest_deviation(small + np.float32(2e-4), small) == pytest.approx(2e-4, rel=0.05)
    assert largest_deviation(20 * small + np.float32(2e-4), 20 * small) == pytest.approx(2e-4 / 12, rel=0.2)
