"""`python -m training export`: torch weights to verified ONNX graphs and their manifest entries."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from onnx import helper
from torch import Tensor, nn

from service import manifest as manifests
from service.inference import Runtime, Session, Tensors
from service.manifest import Graph, HashedFile, Kind, Manifest, Samples, TensorSpec
from service.selftest import SAMPLES as SELF_TEST_SAMPLES
from training import metrics
from training.commit import current_commit
from training.data import Examples
from training.entries import enter_dataset
from training.gradient_graph import gradient_function, trace_gradient
from training.onnx_graphs import OPSET, StoredTensors, share_weights, to_onnx, write_weights
from training.parity import GRADIENT_OUTPUT, examples, verify_parity
from training.pipeline import ClampedPurifier, Pipeline, Purifier, freeze
from training.weights import count_parameters

SAMPLES_PER_CLASS = 20
_LICENCES = {
    "mnist": ("MNIST test set (LeCun, Cortes, Burges)", "CC BY-SA 3.0"),
    "fashion-mnist": ("Fashion-MNIST test set (Zalando SE)", "MIT"),
}
_IMAGES = TensorSpec(name="images", shape=("N", 1, 28, 28), minimum=0.0, maximum=1.0)
_LOGITS = TensorSpec(name="logits", shape=("N", 10))
_PURIFIED = TensorSpec(name="purified_images", shape=("N", 1, 28, 28), minimum=0.0, maximum=1.0)
_COTANGENT = TensorSpec(name="cotangent", shape=("N", 10))
_SOFTMAX_WEIGHT = TensorSpec(name="softmax_weight", shape=("N", 1))


@dataclass(frozen=True)
class TrainedPurifier:
    """A purifier with the name under which it is served and the configuration that trained it."""

    defense: str
    module: nn.Module
    config: dict[str, Any]


@dataclass(frozen=True)
class TrainedClassifier:
    """A classifier with the configuration that trained it."""

    module: nn.Module
    config: dict[str, Any]


@dataclass(frozen=True)
class _Plan:
    """One graph to write: the torch module (or whose gradient it is) and whose weights it shares."""

    kind: Kind
    defense: str
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    weights: tuple[str, ...]
    config: dict[str, Any]

    @property
    def is_gradient(self) -> bool:
        return self.kind in {"classifier_gradient", "pipeline_gradient"}

    @property
    def reference(self) -> Callable[..., Any]:
        """What the graph must equal: the module itself, or autograd through it."""
        return gradient_function(self.module) if self.is_gradient else self.module


def export_dataset(
    dataset: str,
    classifier: TrainedClassifier,
    purifiers: tuple[TrainedPurifier, ...],
    *,
    test: Examples,
    models: Path,
) -> Manifest:
    """Write a data set's graphs, weights, samples and manifest entries; other data sets' entries stay.

    Every graph is compared with the torch module it was made from on test images, and its clean accuracy is
    measured on the file itself.

    Raises:
        ExportError: a graph disagrees with torch by more than 1e-4 on logits or purified images, or by more than
            1e-3 of their length on gradients.
    """
    commit = current_commit()
    folder = models / f".{dataset}.new"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    freeze(classifier.module).cpu().to(memory_format=torch.contiguous_format)
    stored = {"classifier": write_weights(classifier.module, folder / "classifier.weights")}
    for purifier in purifiers:
        freeze(purifier.module).to("cpu")
        stored[purifier.defense] = write_weights(purifier.module, folder / f"{purifier.defense}.weights")
    samples = _write_samples(dataset, test, folder)
    runtime = Runtime("cpu")
    graphs = []
    for plan in _plans(classifier, purifiers):
        path = folder / f"{_file_stem(plan)}.onnx"
        _write(plan, path, stored)
        session = runtime.open(path)
        deviation = verify_parity(plan.reference, session, plan.inputs, test.images[:32])
        accuracy = _measure(plan, session, test, folder, runtime)
        print(f"{dataset}/{path.name}: largest deviation from torch {deviation:.1e}, clean accuracy {accuracy}")
        golden = _golden(plan, session, test)
        graphs.append(_entry(dataset, plan, path, accuracy, len(test), golden, commit))
    # Only now, when everything has passed, do the new files take the old ones' place.
    shutil.rmtree(models / dataset, ignore_errors=True)
    folder.rename(models / dataset)
    return enter_dataset(models, dataset, graphs, samples)


def _plans(classifier: TrainedClassifier, purifiers: tuple[TrainedPurifier, ...]) -> Iterator[_Plan]:
    vjp = (_IMAGES, _COTANGENT, _SOFTMAX_WEIGHT)
    yield _Plan("classifier", "none", classifier.module, (_IMAGES,), (_LOGITS,), ("classifier",), classifier.config)
    yield _Plan(
        "classifier_gradient",
        "none",
        classifier.module,
        vjp,
        (_LOGITS, GRADIENT_OUTPUT),
        ("classifier",),
        classifier.config,
    )
    for trained in purifiers:
        name, config = trained.defense, trained.config
        noise = TensorSpec(name="noise", shape=("N", *cast(Purifier, trained.module).noise_shape))
        pipeline = freeze(Pipeline(trained.module, classifier.module))
        both = ("classifier", name)
        clamped = freeze(ClampedPurifier(trained.module))
        yield _Plan("purifier", name, clamped, (_IMAGES, noise), (_PURIFIED,), (name,), config)
        yield _Plan("pipeline", name, pipeline, (_IMAGES, noise), (_LOGITS,), both, config)
        yield _Plan("pipeline_gradient", name, pipeline, (*vjp, noise), (_LOGITS, GRADIENT_OUTPUT), both, config)


def _file_stem(plan: _Plan) -> str:
    if plan.defense == "none":
        return plan.kind
    return plan.defense if plan.kind == "purifier" else f"{plan.defense}_{plan.kind}"


def _write(plan: _Plan, path: Path, stored: Mapping[str, StoredTensors]) -> None:
    given = examples(plan.inputs)
    module = trace_gradient(plan.module, given) if plan.is_gradient else plan.module
    model = to_onnx(module, given, plan.inputs, plan.outputs)
    share_weights(model, {key: place for name in plan.weights for key, place in stored[name].items()})
    model.producer_name = "adversarial-purifier"
    model.graph.name = path.stem
    # So that the graph's own hash stands for its weights too: answers name their models by it.
    weights = [path.with_name(f"{name}.weights") for name in plan.weights]
    helper.set_model_props(model, {file.name: manifests.sha256(file) for file in weights})
    onnx.save_model(model, path)
    onnx.checker.check_model(path)


def _measure(plan: _Plan, session: Session, test: Examples, folder: Path, runtime: Runtime) -> float | None:
    if plan.is_gradient:
        return None
    classifier = runtime.open(folder / "classifier.onnx") if plan.kind == "purifier" else None

    def logits(images: Tensor) -> Tensor:
        found = _run(plan, session, images)
        if classifier is not None:
            found = classifier.run(images=found["purified_images"])
        return torch.from_numpy(found["logits"])

    return round(metrics.accuracy(metrics.predict(logits, test.images, batch_size=100), test.labels), 6)


def _golden(plan: _Plan, session: Session, test: Examples) -> tuple[int, ...] | None:
    """What the service's self-test compares with, of the graphs that it asks."""
    if plan.kind not in {"classifier", "pipeline"}:
        return None
    images = test.images[_sampled(test)[:SELF_TEST_SAMPLES]]
    return tuple(_run(plan, session, images)["logits"].argmax(axis=1).tolist())


def _run(plan: _Plan, session: Session, images: Tensor) -> Tensors:
    """Latent noise zero, where the graph has any."""
    inputs = {"images": images.numpy()}
    noise = next((spec for spec in plan.inputs if spec.name == "noise"), None)
    if noise is not None:
        inputs["noise"] = np.zeros((len(images), *(int(size) for size in noise.shape[1:])), np.float32)
    return session.run(**inputs)


def _entry(
    dataset: str, plan: _Plan, path: Path, accuracy: float | None, n: int, golden: tuple[int, ...] | None, commit: str
) -> Graph:
    folder = path.parent
    weights = tuple(
        HashedFile(file=f"{dataset}/{name}.weights", sha256=manifests.sha256(folder / f"{name}.weights"))
        for name in plan.weights
    )
    measured = None if accuracy is None else manifests.MeasuredAccuracy(clean_accuracy=accuracy, n=n)
    return Graph(
        name=f"{dataset}/{path.stem}",
        kind=plan.kind,
        dataset=dataset,
        defense=plan.defense,
        file=f"{dataset}/{path.name}",
        sha256=manifests.sha256(path),
        weights=weights,
        inputs=plan.inputs,
        outputs=plan.outputs,
        opset=OPSET,
        parameters=count_parameters(plan.module),
        training=plan.config,
        seed=plan.config["seed"],
        commit=commit,
        accuracy=measured,
        golden=golden,
    )


def _sampled(test: Examples) -> Tensor:
    """The places (200,) of the first images of each class, interleaved so that sample n shows class n mod 10."""
    by_class = [torch.nonzero(test.labels == label)[:SAMPLES_PER_CLASS, 0] for label in range(10)]
    return torch.stack(by_class, dim=1).flatten()


def _write_samples(dataset: str, test: Examples, folder: Path) -> Samples:
    chosen = _sampled(test)
    images = (test.images[chosen, 0] * 255).round().to(torch.uint8).numpy()
    path = folder / "samples.npz"
    np.savez_compressed(path, images=images, labels=test.labels[chosen].numpy())
    source, licence = _LICENCES[dataset]
    return Samples(
        dataset=dataset,
        file=f"{dataset}/{path.name}",
        sha256=manifests.sha256(path),
        count=len(chosen),
        source=source,
        licence=licence,
    )
