"""`python -m training quantize`: the classifier in int8 and fp16 beside the fp32 one, each with its own accuracy.

Repeat it after each export. What it writes depends on the classifier and the training images alone, so that a new
purifier changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx

from service import manifest as manifests
from service.attacks import WhiteBox, fgsm, pgd
from service.catalog import Catalog, Classifier
from service.manifest import Graph, HashedFile, MeasuredAccuracy
from service.selftest import first_samples
from training.commit import current_commit
from training.data import Examples
from training.entries import enter_beside
from training.errors import ExportError
from training.float16_graph import to_float16
from training.quantization import quantize

LARGEST_LOSS = 0.003
CALIBRATION = "training images: 256 clean, 128 under FGSM with eps 0.1, 0.3 and 0.6, 128 under PGD with eps 0.15"
_BATCH = 50

Array = np.ndarray[Any, Any]


def quantize_classifier(dataset: str, *, train: Examples, test: Examples, models: Path) -> Graph:
    """Write `classifier_int8.onnx` and its manifest entry, in place of older ones.

    Raises:
        ExportError: its accuracy on clean test images is more than .3 points from the fp32 classifier's.
    """
    catalog = Catalog.load(models, "cpu")
    calibration = calibration_images(catalog.white_box(dataset), train)
    return _write(
        catalog,
        dataset,
        "int8",
        lambda source, target: quantize(source, target, calibration),
        test=test,
        weights=(),
        facts={"calibration": CALIBRATION},
    )


def round_classifier(dataset: str, *, test: Examples, models: Path) -> Graph:
    """Write `classifier_fp16.onnx`, on the fp32 classifier's weight file, and its entry, in place of older ones.

    Raises:
        ExportError: its accuracy on clean test images is more than .3 points from the fp32 classifier's.
    """
    catalog = Catalog.load(models, "cpu")
    weights = catalog.manifest.graph(dataset, "classifier").weights
    return _write(catalog, dataset, "fp16", _round, test=test, weights=weights, facts={})


def _round(source: Path, target: Path) -> None:
    onnx.save_model(to_float16(_without_weights(source)), target)


def _write(
    catalog: Catalog,
    dataset: str,
    precision: Literal["int8", "fp16"],
    write: Callable[[Path, Path], None],
    *,
    test: Examples,
    weights: tuple[HashedFile, ...],
    facts: Mapping[str, str],
) -> Graph:
    """Write a graph from the fp32 one's with `write(source, target)`, measure it, and enter it into the manifest."""
    source = catalog.manifest.graph(dataset, "classifier")
    path = catalog.folder / dataset / f"classifier_{precision}.onnx"
    temporary = path.with_suffix(".new")
    write(catalog.folder / source.file, temporary)
    reduced = Classifier(source, catalog.runtime.open(temporary))
    exact, found = (_accuracy(classifier, test) for classifier in (catalog.classifier(dataset), reduced))
    if abs(exact - found) > LARGEST_LOSS:
        temporary.unlink()
        raise ExportError(f"{precision} has accuracy {found:.4f}, fp32 {exact:.4f}; allowed: {LARGEST_LOSS} apart")
    temporary.replace(path)
    entry = source.model_copy(
        update={
            "name": f"{dataset}/{path.stem}",
            "file": f"{dataset}/{path.name}",
            "sha256": manifests.sha256(path),
            "weights": weights,
            "precision": precision,
            "stored_precision": precision,
            "opset": max(
                item.version for item in _without_weights(path).opset_import if item.domain in {"", "ai.onnx"}
            ),
            "training": {**source.training, "quantized_from": source.sha256, **facts},
            "commit": current_commit(),
            "accuracy": MeasuredAccuracy(clean_accuracy=found, n=len(test)),
            "golden": tuple(reduced.logits(first_samples(catalog.samples(dataset))).argmax(axis=1).tolist()),
        }
    )
    enter_beside(catalog.folder, source, entry)
    print(f"{entry.file}: clean accuracy {found}, fp32 {exact}")
    return entry


def _without_weights(path: Path) -> onnx.ModelProto:
    return onnx.load(path, load_external_data=False)


def calibration_images(model: WhiteBox, train: Examples) -> Array:
    """The first training images, clean and attacked: (512, 1, 28, 28)."""
    images, labels = train.images[:512].numpy(), train.labels[:512].numpy()
    stepped = [
        fgsm(model, images[part], labels[part], eps=eps).adv_images
        for eps, part in ((0.1, slice(256, 298)), (0.3, slice(298, 340)), (0.6, slice(340, 384)))
    ]
    climbed = pgd(model, images[384:], labels[384:], eps=0.15, steps=10, rng=np.random.default_rng(0)).adv_images
    return np.concatenate([images[:256], *stepped, climbed]).astype(np.float32)


def _accuracy(classifier: Classifier, test: Examples) -> float:
    images = test.images.numpy()
    parts = [classifier.logits(images[first : first + _BATCH]) for first in range(0, len(images), _BATCH)]
    return round(float((np.concatenate(parts).argmax(axis=1) == test.labels.numpy()).mean()), 6)
