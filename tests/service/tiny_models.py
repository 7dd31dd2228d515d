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
_Kind = tuple[str, str, list[Any], list[Spec], list[Spec]]
_node = helper.make_node
_FLATTEN = [_node("Reshape", ["images", "flat"], ["pixels"])]
_PURIFY = [
    *_FLATTEN,
    _node("Mul", ["pixels", "contrast"], ["halved"]),
    _node("Add", ["halved", "boost"], ["boosted"]),
    _node("MatMul", ["noise", "mixing"], ["drawn"]),
    _node("Add", ["boosted", "drawn"], ["unclipped"]),
    _node("Clip", ["unclipped", "zero", "one"], ["clean"]),
]
_VECTOR = [
    _node("Softmax", ["logits"], ["probabilities"], axis=1),
    _node("Add", ["one", "cotangent"], ["but_the_label"]),
    _node("Mul", ["probabilities", "but_the_label"], ["others"]),
    # Not ReduceSum, whose order of adding depends on the size of the batch.
    _node("MatMul", ["others", "all_classes"], ["sum_of_others"]),
    _node("Mul", ["cotangent", "sum_of_others"], ["of_the_label"]),
    _node("Add", ["others", "of_the_label"], ["cross_entropy"]),
    _node("Mul", ["softmax_weight", "cross_entropy"], ["weighted"]),
    _node("Sub", ["one", "softmax_weight"], ["other_weight"]),
    _node("Mul", ["other_weight", "cotangent"], ["any_loss"]),
    _node("Add", ["weighted", "any_loss"], ["by_logits"]),
    _node("MatMul", ["by_logits", "WT"], ["by_pixels"]),
]
_THROUGH = [
    _node("Greater", ["unclipped", "zero"], ["above"]),
    _node("Less", ["unclipped", "one"], ["below"]),
    _node("And", ["above", "below"], ["free"]),
    _node("Cast", ["free"], ["passes"], to=TensorProto.FLOAT),
    _node("Mul", ["by_pixels", "passes"], ["masked"]),
    _node("Mul", ["masked", "contrast"], ["by_images"]),
]


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
    constants, kinds = _constants(dataset), _kinds()
    if dataset == "mnist":
        # A further defense, loaded on first use, without a gradient.
        further = ("purifier", "pipeline")
        kinds += [(kind, "puvae", nodes, takes, gives) for kind, _, nodes, takes, gives in kinds if kind in further]
    written = [_write_graph(folder, dataset, constants, *kind) for kind in kinds]
    if dataset == "mnist":
        distilled = constants["W"][:, [1, 0, *range(2, BANDS)]] / 2
        other = {**constants, "W": distilled, "WT": distilled.T.copy()}
        for kind, _, *rest in kinds[:2]:
            written.append(_write_graph(folder, dataset, other, kind, "distillation", *rest))
    return written


def _constants(dataset: str) -> dict[str, Array]:
    """What the nodes name: the weights of the classifier, and what the purifier does."""
    weights = np.zeros((784, 10), np.float32)
    for label in range(10):
        start = BAND * band_of(dataset, label)
        weights[start : start + BAND, label] = SCALE / BAND
    boost = np.zeros((1, 784), np.float32)
    start = BAND * band_of(dataset, BOOSTED)
    boost[0, start : start + BAND] = BOOST
    mixing = np.random.default_rng(7).standard_normal((NOISE, 784)).astype(np.float32) * np.float32(0.05)
    return {
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


def _kinds() -> list[_Kind]:
    """The classifier, the purifier and the two together, and the gradients of those that name a class."""
    classify = [*_FLATTEN, _node("MatMul", ["pixels", "W"], ["logits"])]
    judge = [*_PURIFY, _node("MatMul", ["clean", "W"], ["logits"])]
    unflatten = _node("Reshape", ["clean", "square"], ["purified_images"])
    bend = {"by_pixels": _node("Reshape", ["by_pixels", "square"], ["images_gradient"])}
    bend["by_images"] = _node("Reshape", ["by_images", "square"], ["images_gradient"])
    cotangents = [_COTANGENT, _SOFTMAX_WEIGHT]
    return [
        ("classifier", "none", classify, [_IMAGES], [_LOGITS]),
        (
            "classifier_gradient",
            "none",
            [*classify, *_VECTOR, bend["by_pixels"]],
            [_IMAGES, *cotangents],
            [_LOGITS, _GRADIENT],
        ),
        ("purifier", "autoencoder", [*_PURIFY, unflatten], [_IMAGES, _NOISE], [_PURIFIED]),
        ("pipeline", "autoencoder", judge, [_IMAGES, _NOISE], [_LOGITS]),
        (
            "pipeline_gradient",
            "autoencoder",
            [*judge, *_VECTOR, *_THROUGH, bend["by_images"]],
            [_IMAGES, _NOISE, *cotangents],
            [_LOGITS, _GRADIENT],
        ),
    ]


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
