from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from service import selftest
from service.catalog import NO_DEFENSE, Catalog
from service.manifest import TensorSpec
from service.runtime import Runtime
from tests.training.tiny_export import (
    CLASSIFIER_CONFIG,
    DEFENSES,
    PURIFIER_CONFIG,
    held_out_images,
    rounded_classifier,
    tiny_purifier,
)
from training.data import Examples
from training.errors import ExportError
from training.export import export_dataset
from training.onnx_graphs import write_weights
from training.parity import verify_parity
from training.pipeline import ClampedPurifier, Pipeline, TorchWhiteBox
from training.plans import TrainedClassifier, TrainedPurifier
from training.served import read_weights


@pytest.fixture
def exported(exported_models: Path, tmp_path: Path) -> Path:
    """A copy of the export of `classifier` and `purifier`, which are the same for each test."""
    return shutil.copytree(exported_models, tmp_path / "models")


@pytest.fixture
def classifier() -> nn.Module:
    return rounded_classifier()


@pytest.fixture
def purifier() -> nn.Module:
    return tiny_purifier("autoencoder")


@pytest.fixture(name="test_images")
def _test_images() -> Examples:
    return held_out_images()


def test_the_service_loads_the_export_and_answers_as_torch_does(
    exported: Path, classifier: nn.Module, purifier: nn.Module, test_images: Examples
) -> None:
    catalog = Catalog.load(exported, "cpu")
    selftest.check(catalog)
    recorded = {graph.kind for graph in catalog.manifest.graphs if len(graph.golden or ()) == selftest.SAMPLES}
    assert recorded == {"classifier", "pipeline"}
    images, labels = test_images.images[:5], test_images.labels[:5]
    np.testing.assert_allclose(
        catalog.classifier("mnist").logits(images.numpy()), classifier(images).numpy(), atol=1e-4
    )
    served = catalog.purifier("mnist", "autoencoder")
    assert served is not None
    expected = ClampedPurifier(purifier)(images, torch.zeros(5, 10))
    np.testing.assert_allclose(served.purify(images.numpy()), expected.numpy(), atol=1e-5)
    _, gradient = catalog.white_box("mnist").loss_gradient(images.numpy(), labels.numpy())
    _, expected_gradient = TorchWhiteBox(classifier).loss_gradient(images, labels)
    np.testing.assert_allclose(gradient, expected_gradient.numpy(), rtol=1e-3, atol=1e-6)


def test_the_fused_pipeline_equals_purifier_then_classifier(
    exported: Path, classifier: nn.Module, purifier: nn.Module, test_images: Examples
) -> None:
    catalog = Catalog.load(exported, "cpu")
    _, session = catalog.pipeline("mnist", "autoencoder")
    images, noise = test_images.images[:4], torch.randn(4, 10)
    expected = Pipeline(purifier, classifier)(images, noise)
    found = session.run(images=images.numpy(), noise=noise.numpy())["logits"]
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


def test_weights_are_stored_once_for_all_graphs(exported: Path, classifier: nn.Module) -> None:
    folder = exported / "mnist"
    large = sum(tensor.numel() for tensor in classifier.parameters() if tensor.numel() >= 256)
    assert (folder / "classifier.weights").stat().st_size == pytest.approx(2 * large, abs=64 * 4)
    for graph in folder.glob("*.onnx"):
        assert graph.stat().st_size < 400_000, graph


def test_exported_weights_can_be_read_back_by_name(exported: Path, classifier: nn.Module) -> None:
    stored = read_weights(exported / "mnist" / "classifier.onnx")
    for name, tensor in classifier.state_dict().items():
        assert torch.equal(stored[name], tensor), name


def test_the_manifest_states_what_was_measured(exported: Path, classifier: nn.Module, test_images: Examples) -> None:
    manifest = Catalog.load(exported, "cpu").manifest
    kinds = [graph.kind for graph in manifest.graphs]
    purifiers = ["purifier", "pipeline", "pipeline_gradient"] * len(DEFENSES)
    assert kinds == ["classifier", "classifier_gradient", *purifiers]
    right = (classifier(test_images.images).argmax(1) == test_images.labels).float().mean().item()
    measured = manifest.graph("mnist", "classifier").accuracy
    assert measured is not None
    assert measured.clean_accuracy == pytest.approx(right, abs=1e-6)
    assert measured.n == 240
    for graph in manifest.graphs:
        assert graph.training == (CLASSIFIER_CONFIG if graph.defense == NO_DEFENSE else PURIFIER_CONFIG)
        assert graph.seed == 3


def test_samples_are_the_first_of_each_class_in_turn(exported: Path, test_images: Examples) -> None:
    samples = Catalog.load(exported, "cpu").samples("mnist")
    assert samples.images.shape == (200, 28, 28)
    assert samples.labels[:20].tolist() == [*range(10), *range(10)]
    np.testing.assert_array_equal(samples.images[3], np.rint(test_images.images[3, 0].numpy() * 255))


def test_another_data_set_keeps_the_first_and_a_hash_changes_with_its_graphs_weights(
    exported: Path, classifier: nn.Module, purifier: nn.Module, test_images: Examples
) -> None:
    before = (exported / "mnist" / "classifier.onnx").read_bytes()
    with torch.no_grad():
        purifier.get_parameter("decoder.0.weight").mul_(2)
    trained = TrainedPurifier("autoencoder", purifier, PURIFIER_CONFIG)
    export_dataset(
        "fashion-mnist", TrainedClassifier(classifier, CLASSIFIER_CONFIG), (trained,), test=test_images, models=exported
    )
    catalog = Catalog.load(exported, "cpu")
    assert catalog.datasets == ("mnist", "fashion-mnist")
    assert (exported / "mnist" / "classifier.onnx").read_bytes() == before
    hashes: dict[str, set[str]] = {}
    for graph in catalog.manifest.graphs:
        hashes.setdefault(graph.name.partition("/")[2], set()).add(graph.sha256)
    changed = {name for name, found in hashes.items() if len(found) == 2}
    assert changed == {"autoencoder", "autoencoder_pipeline", "autoencoder_pipeline_gradient"}


def test_a_graph_that_deviates_from_torch_fails_the_export(
    exported: Path, classifier: nn.Module, test_images: Examples
) -> None:
    session = Runtime("cpu").open(exported / "mnist" / "classifier.onnx")
    spec = (TensorSpec(name="images", shape=("N", 1, 28, 28)),)
    verify_parity(classifier, session, spec, test_images.images[:4])
    with torch.no_grad():
        classifier.get_parameter("head.bias")[0] += 0.001
    with pytest.raises(ExportError, match=r"'logits' deviates from torch by 1.0.e-03; allowed: 1.00e-04"):
        verify_parity(classifier, session, spec, test_images.images[:4])


def test_weights_that_were_not_rounded_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="is not rounded to float16"):
        write_weights(nn.Linear(30, 30), tmp_path / "linear.weights")
