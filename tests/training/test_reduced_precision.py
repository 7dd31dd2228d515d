"""An int8 or fp16 classifier answers nearly as the exported one, stands in the manifest, and can be written again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from service import manifest as manifests
from service import selftest
from service.catalog import Catalog
from training import reduced_precision
from training.bench import TestBench
from training.data import Examples
from training.errors import ExportError
from training.ledger import Ledger
from training.measurement import CLEAN, View
from training.reduced_precision import quantize_classifier, round_classifier
from training.served import is_current
from training.white_boxes import Victim
from training.workers import Processes


@pytest.fixture
def many() -> Examples:
    generator = torch.Generator().manual_seed(1)
    return Examples(torch.rand(512, 1, 28, 28, generator=generator), torch.arange(512) % 10)


@pytest.fixture(autouse=True)
def _any_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny classifier's answers to noise lie close together, so that rounding may change many."""
    monkeypatch.setattr(reduced_precision, "LARGEST_LOSS", 1.0)


def test_it_answers_nearly_as_fp32_does_and_the_same_alone_as_in_a_batch(models: Path, many: Examples) -> None:
    quantize_classifier("mnist", train=many, test=many, models=models)
    images = many.images[:32].numpy()
    exact = Catalog.load(models, "cpu", 1).classifier("mnist").logits(images)
    classifier = Catalog.load(models, "cpu", 1, "int8").classifier("mnist")
    found = classifier.logits(images)
    assert np.abs(found - exact).max() <= 0.1 * np.abs(exact).max()
    assert not np.array_equal(found, exact)
    np.testing.assert_array_equal(found, np.concatenate([classifier.logits(image[None]) for image in images]))


def test_its_weights_are_signed_bytes_per_channel_and_its_activations_unsigned(models: Path, many: Examples) -> None:
    entry = quantize_classifier("mnist", train=many, test=many, models=models)
    graph = onnx.load(models / entry.file).graph
    kinds = {tensor.name: tensor for tensor in graph.initializer}
    weights = [
        kinds[node.input[0]] for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in kinds
    ]
    assert onnx.TensorProto.INT8 in {tensor.data_type for tensor in weights}
    assert any(node.op_type == "DequantizeLinear" and len(kinds[node.input[1]].dims) == 1 for node in graph.node)
    activations = {kinds[node.input[2]].data_type for node in graph.node if node.op_type == "QuantizeLinear"}
    assert activations == {onnx.TensorProto.UINT8}


def test_writing_it_again_replaces_it_and_leaves_the_rest(models: Path, many: Examples) -> None:
    before = manifests.read(models).graphs
    first = quantize_classifier("mnist", train=many, test=many, models=models)
    again = quantize_classifier("mnist", train=many, test=many, models=models)
    assert first == again
    assert first.precision == "int8"
    selftest.check(Catalog.load(models, "cpu", 1, "int8"))
    assert first.golden is not None
    assert len(first.golden) == selftest.SAMPLES
    assert first.training["quantized_from"] == manifests.read(models).graph("mnist", "classifier").sha256
    assert manifests.read(models).graphs == (before[0], again, *before[1:])


def test_its_answers_are_measured_beside_those_of_fp32_on_the_same_images(
    models: Path, many: Examples, tmp_path: Path
) -> None:
    entry = quantize_classifier("mnist", train=many, test=many, models=models)
    manifest = manifests.read(models)
    catalog = Catalog.load(models, "cpu", 1)
    with Processes(1) as workers:
        bench = TestBench(Victim(models, "mnist", "cpu"), many, tmp_path, workers)
        exact, quick = View(), View(precision="int8")
        answers = bench.answers(CLEAN, [exact, quick], len(many))
        again = bench.answers(CLEAN, [quick], len(many))[quick]
    for view, found in answers.items():
        expected = catalog.classifier("mnist", precision=view.precision).logits(many.images.numpy()).argmax(axis=1)
        np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(answers[exact], answers[quick])
    np.testing.assert_array_equal(again, answers[quick])
    row = Ledger(models, manifest, "mnist").blank(CLEAN, quick, len(many))
    assert (row.precision, row.artefact) == ("int8", f"mnist/classifier_int8@{entry.sha256[:12]}")
    assert is_current(manifest, row)
    assert not is_current(manifest, replace(row, artefact="mnist/classifier_int8@000000000000"))


def test_one_that_answers_differently_is_not_kept(
    models: Path, many: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reduced_precision, "LARGEST_LOSS", -1.0)
    with pytest.raises(ExportError, match=r"int8 has accuracy 0\.\d+, fp32 0\.\d+; allowed"):
        quantize_classifier("mnist", train=many, test=many, models=models)
    with pytest.raises(ExportError, match=r"fp16 has accuracy 0\.\d+, fp32 0\.\d+; allowed"):
        round_classifier("mnist", test=many, models=models)
    assert not [*(models / "mnist").glob("*int8*"), *(models / "mnist").glob("*fp16*")]
    assert all(graph.precision == "fp32" for graph in manifests.read(models).graphs)


def test_fp16_answers_nearly_as_fp32_on_the_same_weight_file(models: Path, many: Examples) -> None:
    source = manifests.read(models).graph("mnist", "classifier")
    entry = round_classifier("mnist", test=many, models=models)
    assert (entry.precision, entry.weights) == ("fp16", source.weights)
    assert (models / entry.file).stat().st_size < 100_000
    images = many.images[:32].numpy()
    exact = Catalog.load(models, "cpu", 1).classifier("mnist").logits(images)
    found = Catalog.load(models, "cpu", 1, "fp16").classifier("mnist").logits(images)
    assert found.dtype == np.float32
    assert np.abs(found - exact).max() <= 0.01 * np.abs(exact).max()
    assert round_classifier("mnist", test=many, models=models) == entry
    selftest.check(Catalog.load(models, "cpu", 1, "fp16"))


def test_every_operator_of_fp16_computes_in_fp16(models: Path, many: Examples) -> None:
    entry = round_classifier("mnist", test=many, models=models)
    graph = onnx.shape_inference.infer_shapes(onnx.load(models / entry.file)).graph
    outside = {value.name for value in (*graph.input, *graph.output)}
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.value_info} | {
        tensor.name: tensor.data_type for tensor in graph.initializer
    }
    inside = {name for node in graph.node for name in (*node.input, *node.output)} - outside - {""}
    assert onnx.TensorProto.FLOAT16 in {kinds[name] for name in inside}
    assert onnx.TensorProto.FLOAT not in {kinds[name] for name in inside}
    assert all(value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for value in (*graph.input, *graph.output))
