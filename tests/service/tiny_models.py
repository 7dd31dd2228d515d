"""A models folder of a few kilobytes, whose every answer can be worked out by hand. No torch.

- The classifier's logits are 20 times the mean of ten bands of 78 pixels each: it names the brightest band. For
  fashion-mnist the bands stand in reverse.
- The purifier halves the contrast, brightens the band of class 3 by 0.08, and adds 0.05 times its noise input,
  mixed: images of class 3 are the ones that it recovers.
- 'distillation', of mnist alone, is another classifier: half as sure, it takes classes 0 and 1 for each other.
- `gradient` graphs are their vector-Jacobian products, worked out by hand, with the cross-entropy's gradient as
  the exported graphs take it: the label's entry is minus the sum of the others, exact where the softmax is 1.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from service.manifest import sha256

BANDS, BAND = 10, 78
SCALE = 20.0
CONTRAST, BOOST, BOOSTED = 0.5, 0.08, 3
NOISE = 4
DATASETS = ("mnist", "fashion-mnist")
PER_CLASS = 3
Spec = tuple[str, list[str | int]]
Array = np.ndarray[Any, Any]

_IMAGES: Spec = ("images", ["N", 1, 28, 28])
_RANGES = {"images": {"minimum": 0, "maximum": 1}}
_NOISE: Spec = ("noise", ["N", NOISE])
_COTANGENT: Spec = ("cotangent", ["N", 10])
_SOFTMAX_WEIGHT: Spec = ("softmax_weight", ["N", 1])
_LOGITS: Spec = ("logits", ["N", 10])
_PURIFIED: Spec = ("purified_images", ["N", 1, 28, 28])
_GRADIENT: Spec = ("images_gradient", ["N", 1, 28, 28])


def band_of(dataset: str, label: int) -> int:
    return label if dataset == "mnist" else BANDS - 1 - label


def image_of(dataset: str, label: int, *, background: int = 90, band: int = 140) -> Array:
    """uint8 (28, 28) that the tiny classifier names `label`."""
    pixels = np.full(784, background, np.uint8)
    start = BAND * band_of(dataset, label)
    pixels[start : start + BAND] = band
    return pixels.reshape(28, 28)


def build(folder: Path) -> Path:
    """Write graphs, samples and manifest.json; the folder."""
    graphs, samples = [], []
    for dataset in DATASETS:
        (folder / dataset).mkdir(parents=True)
        graphs += _write_graphs(folder, dataset)
        samples.append(_write_samples(folder, dataset))
    class_names = {dataset: [f"{dataset} {label}" for label in range(10)] for dataset in DATASETS}
    content = {"version": 1, "class_names": class_names, "graphs": graphs, "samples": samples}
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


def _write_graphs(folder: Path, dataset: str) -> list[dict[str, Any]]:
    weights = np.zeros((784, 10), np.float32)
    for label in range(10):
        start = BAND * band_of(dataset, label)
        weights[start : start + BAND, label] = SCALE / BAND
    boost = np.zeros((1, 784), np.float32)
    start = BAND * band_of(dataset, BOOSTED)
    boost[0, start : start + BAND] = BOOST
    mixing = np.random.default_rng(7).standard_normal((NOISE, 784)).astype(np.float32) * np.float32(0.05)
    constants: dict[str, Array] = {
        "W": weights,
        "WT": weights.T.copy(),
        "boost": boost,
        "mixing": mixing,
        "contrast": np.array(CONTRAST, np.float32),
        "zero": np.array(0, np.float32),
        "one": np.array(1, np.float32),
        "all_classes": np.ones((BANDS, BANDS), np.float32),
        "flat": np.array([-1, 784]),
        "square": np.array([-1, 1, 28, 28]),
    }
    node = helper.make_node
    flatten = [node("Reshape", ["images", "flat"], ["pixels"])]
    purify = [
        *flatten,
        node("Mul", ["pixels", "contrast"], ["halved"]),
        node("Add", ["halved", "boost"], ["boosted"]),
        node("MatMul", ["noise", "mixing"], ["drawn"]),
        node("Add", ["boosted", "drawn"], ["unclipped"]),
        node("Clip", ["unclipped", "zero", "one"], ["clean"]),
    ]
    vector = [
        node("Softmax", ["logits"], ["probabilities"], axis=1),
        node("Add", ["one", "cotangent"], ["but_the_label"]),
        node("Mul", ["probabilities", "but_the_label"], ["others"]),
        # Not ReduceSum, whose order of adding depends on the size of the batch.
        node("MatMul", ["others", "all_classes"], ["sum_of_others"]),
        node("Mul", ["cotangent", "sum_of_others"], ["of_the_label"]),
        node("Add", ["others", "of_the_label"], ["cross_entropy"]),
        node("Mul", ["softmax_weight", "cross_entropy"], ["weighted"]),
        node("Sub", ["one", "softmax_weight"], ["other_weight"]),
        node("Mul", ["other_weight", "cotangent"], ["any_loss"]),
        node("Add", ["weighted", "any_loss"], ["by_logits"]),
        node("MatMul", ["by_logits", "WT"], ["by_pixels"]),
    ]
    through = [
        node("Greater", ["unclipped", "zero"], ["above"]),
        node("Less", ["unclipped", "one"], ["below"]),
        node("And", ["above", "below"], ["free"]),
        node("Cast", ["free"], ["passes"], to=TensorProto.FLOAT),
        node("Mul", ["by_pixels", "passes"], ["masked"]),
        node("Mul", ["masked", "contrast"], ["by_images"]),
    ]
    classify = [*flatten, node("MatMul", ["pixels", "W"], ["logits"])]
    judge = [*purify, node("MatMul", ["clean", "W"], ["logits"])]
    unflatten = node("Reshape", ["clean", "square"], ["purified_images"])
    bend = {"by_pixels": node("Reshape", ["by_pixels", "square"], ["images_gradient"])}
    bend["by_images"] = node("Reshape", ["by_images", "square"], ["images_gradient"])
    cotangents = [_COTANGENT, _SOFTMAX_WEIGHT]
    kinds: list[tuple[str, str, list[Any], list[Spec], list[Spec]]] = [
        ("classifier", "none", classify, [_IMAGES], [_LOGITS]),
        (
            "classifier_gradient",
            "none",
            [*classify, *vector, bend["by_pixels"]],
            [_IMAGES, *cotangents],
            [_LOGITS, _GRADIENT],
        ),
        ("purifier", "autoencoder", [*purify, unflatten], [_IMAGES, _NOISE], [_PURIFIED]),
        ("pipeline", "autoencoder", judge, [_IMAGES, _NOISE], [_LOGITS]),
        (
            "pipeline_gradient",
            "autoencoder",
            [*judge, *vector, *through, bend["by_images"]],
            [_IMAGES, _NOISE, *cotangents],
            [_LOGITS, _GRADIENT],
        ),
    ]
    if dataset == "mnist":
        # A further defense, loaded on first use, without a gradient.
        kinds.append(("purifier", "puvae", [*purify, unflatten], [_IMAGES, _NOISE], [_PURIFIED]))
        kinds.append(("pipeline", "puvae", judge, [_IMAGES, _NOISE], [_LOGITS]))
    written = [_write_graph(folder, dataset, constants, *kind) for kind in kinds]
    if dataset == "mnist":
        distilled = weights[:, [1, 0, *range(2, BANDS)]] / 2
        other = {**constants, "W": distilled, "WT": distilled.T.copy()}
        for kind, _, *rest in kinds[:2]:
            written.append(_write_graph(folder, dataset, other, kind, "distillation", *rest))
    return written


def _write_graph(
    folder: Path,
    dataset: str,
    constants: dict[str, Array],
    kind: str,
    defense: str,
    nodes: list[Any],
    inputs: list[Spec],
    outputs: list[Spec],
) -> dict[str, Any]:
    used = {name for node in nodes for name in node.input}
    initializers = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items() if k in used]
    graph = helper.make_graph(
        nodes,
        kind,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    name = f"{dataset}-{kind}" if defense == "none" else f"{dataset}-{kind}-{defense}"
    file, weights = f"{dataset}/{name}.onnx", f"{dataset}/{name}.bin"
    onnx.save_model(
        model,
        folder / file,
        save_as_external_data=True,
        location=f"{name}.bin",
        size_threshold=1024,
    )
    return {
        "name": name,
        "kind": kind,
        "dataset": dataset,
        "defense": defense,
        "file": file,
        "sha256": sha256(folder / file),
        "weights": [{"file": weights, "sha256": sha256(folder / weights)}],
        "inputs": [{"name": name, "shape": shape, **_RANGES.get(name, {})} for name, shape in inputs],
        "outputs": [{"name": name, "shape": shape} for name, shape in outputs],
        "opset": 18,
        "parameters": 7840,
        "training": {"by": "hand"},
        "seed": 0,
        "commit": "0000000",
        "accuracy": {"clean_accuracy": 0.99, "n": 10000} if kind == "classifier" else None,
    }


def _write_samples(folder: Path, dataset: str) -> dict[str, Any]:
    labels = np.arange(10 * PER_CLASS, dtype=np.int64) % 10
    images = np.stack([image_of(dataset, label) for label in labels.tolist()])
    file = f"{dataset}/samples.npz"
    np.savez_compressed(folder / file, images=images, labels=labels)
    return {
        "dataset": dataset,
        "file": file,
        "sha256": sha256(folder / file),
        "count": len(labels),
        "source": "made by hand",
        "licence": "Apache-2.0",
    }
