"""`python -m training quantize`: classifiers in fp16 and int8 beside the fp32 one, each with its own accuracy.

Repeat it after each export. What it writes depends on the classifier and the training images alone, so that a new
purifier changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from service import manifest as manifests
from service.attacks import WhiteBox, fgsm, pgd
from service.catalog import Catalog, Classifier
from service.manifest import Graph, MeasuredAccuracy
from service.precision import Precision
from service.selftest import first_samples
from training.commit import current_commit
from training.data import Examples
from training.entries import enter_beside
from training.errors import ExportError
from training.half_precision import halve
from training.quantization import quantize

LARGEST_LOSS = 0.003
CALIBRATION = "training images: 256 clean, 128 under FGSM with eps 0.1, 0.3 and 0.6, 128 under PGD with eps 0.15"
_BATCH = 50

Array = np.ndarray[Any, Any]


def halve_classifier(dataset: str, *, test: Examples, models: Path) -> Graph | None:
    """Write `classifier_fp16.onnx` and its manifest entry, in place of older ones. It shares the fp32 one's weights.

    None without CUDA: ONNX Runtime computes fp16 in fp32 on a CPU, so that its accuracy can't be measured there.

    Raises:
        ExportError: its accuracy on clean test images is more than .3 points from the fp32 classifier's.
    """
    catalog = Catalog.load(models, "auto")
    if not catalog.runtime.uses_cuda:
        print(f"{dataset}: no classifier in fp16, which is measured on CUDA alone")
        return None
    source = catalog.manifest.graph(dataset, "classifier")
    told = {**source.training, "computed_in": "fp16"}
    return _enter(catalog, source, "fp16", halve, test, weights=source.weights, training=told)


def quantize_classifier(dataset: str, *, train: Examples, test: Examples, models: Path) -> Graph:
    """Write `classifier_int8.onnx` and its manifest entry, in place of older ones.

    Raises:
        ExportError: its accuracy on clean test images is more than .3 points from the fp32 classifier's.
    """
    catalog = Catalog.load(models, "cpu")
    source = catalog.manifest.graph(dataset, "classifier")
    told = {**source.training, "quantized_from": source.sha256, "calibration": CALIBRATION}
    images = calibration_images(catalog.white_box(dataset), train)
    return _enter(
        catalog, source, "int8", lambda read, written: quantize(read, written, images), test, weights=(), training=told
    )


def calibration_images(model: WhiteBox, train: Examples) -> Array:
    """The first training images, clean and attacked: (512, 1, 28, 28)."""
    images, labels = train.images[:512].numpy(), train.labels[:512].numpy()
    stepped = [
        fgsm(model, images[part], labels[part], eps=eps).adv_images
        for eps, part in ((0.1, slice(256, 298)), (0.3, slice(298, 340)), (0.6, slice(340, 384)))
    ]
    climbed = pgd(model, images[384:], labels[384:], eps=0.15, steps=10, rng=np.random.default_rng(0)).adv_images
    return np.concatenate([images[:256], *stepped, climbed]).astype(np.float32)


def _enter(
    catalog: Catalog,
    source: Graph,
    precision: Precision,
    write: Callable[[Path, Path], None],
    test: Examples,
    **update: Any,
) -> Graph:
    """Have a graph written beside `source`, and keep it with an entry where it answers as well."""
    path = catalog.folder / source.dataset / f"classifier_{precision}.onnx"
    temporary = path.with_suffix(".new")
    write(catalog.folder / source.file, temporary)
    narrowed = Classifier(source, catalog.runtime.open(temporary))
    exact, found = (_accuracy(classifier, test) for classifier in (catalog.classifier(source.dataset), narrowed))
    if abs(exact - found) > LARGEST_LOSS:
        temporary.unlink()
        raise ExportError(f"{precision} has accuracy {found:.4f}, fp32 {exact:.4f}; allowed: {LARGEST_LOSS} apart")
    temporary.replace(path)
    opsets = onnx.load(path, load_external_data=False).opset_import
    samples = first_samples(catalog.samples(source.dataset))
    entry = source.model_copy(
        update={
            **update,
            "name": f"{source.dataset}/{path.stem}",
            "file": f"{source.dataset}/{path.name}",
            "sha256": manifests.sha256(path),
            "precision": precision,
            "stored_precision": precision,
            "opset": max(item.version for item in opsets if item.domain in {"", "ai.onnx"}),
            "commit": current_commit(),
            "accuracy": MeasuredAccuracy(clean_accuracy=found, n=len(test)),
            "golden": tuple(narrowed.logits(samples).argmax(axis=1).tolist()),
        }
    )
    enter_beside(catalog.folder, source, entry)
    print(f"{entry.file}: clean accuracy {found}, fp32 {exact}")
    return entry


def _accuracy(classifier: Classifier, test: Examples) -> float:
    images = test.images.numpy()
    parts = [classifier.logits(images[first : first + _BATCH]) for first in range(0, len(images), _BATCH)]
    return round(float((np.concatenate(parts).argmax(axis=1) == test.labels.numpy()).mean()), 6)
