"""One graph of a models folder: written, compared with torch, measured, and entered into the manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, helper
from torch import Tensor, nn

from service import manifest as manifests
from service.catalog import NO_DEFENSE
from service.inference import Session, Tensors
from service.manifest import Graph, HashedFile, Kind, TensorSpec
from service.runtime import Runtime
from service.selftest import SAMPLES as SELF_TEST_SAMPLES
from training import metrics
from training.data import Examples
from training.gradient_graph import gradient_function, trace_gradient
from training.onnx_graphs import OPSET, StoredTensors, share_weights, to_onnx
from training.parity import examples, verify_parity
from training.sampling import sampled
from training.weights import count_parameters


@dataclass(frozen=True)
class Plan:
    """One graph to write: the torch module (or whose gradient it is) and whose weights it shares.

    `build` makes the graph where exporting the module does not. Of a graph that takes seconds an image, `few` says how
    many test images are compared with torch and measured. `twin` is compared with torch in the place of a graph that
    repeats the same step so often that rounding errors show.
    """

    kind: Kind
    defense: str
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    weights: tuple[str, ...]
    config: Mapping[str, Any]
    build: Callable[[Plan], ModelProto] | None = None
    few: tuple[int, int] | None = None
    twin: Plan | None = None

    @property
    def is_gradient(self) -> bool:
        """Whether it answers with a gradient."""
        return self.kind in {"classifier_gradient", "pipeline_gradient"}

    @property
    def file_stem(self) -> str:
        """The name of its file, without the ending."""
        if self.defense == NO_DEFENSE:
            return self.kind
        return self.defense if self.kind in {"purifier", "classifier"} else f"{self.defense}_{self.kind}"

    @property
    def reference(self) -> Callable[..., Any]:
        """What the graph must equal: the module itself, or autograd through it."""
        return gradient_function(self.module) if self.is_gradient else self.module


def exported(plan: Plan) -> ModelProto:
    """The plan's module, or its gradient, as a graph; the weights still inside."""
    given = examples(plan.inputs)
    module = trace_gradient(plan.module, given) if plan.is_gradient else plan.module
    return to_onnx(module, given, plan.inputs, plan.outputs)


@dataclass(frozen=True)
class Bench:
    """What graphs are written with and measured on: the folder, where each module's weights lie, and test images.

    `classifier` is the file of the classifier that names a purifier's images.
    """

    dataset: str
    folder: Path
    weights: Mapping[str, StoredTensors]
    test: Examples
    classifier: Path
    commit: str

    def write(self, plan: Plan) -> Graph:
        """Write a graph and return its entry.

        Raises:
            ExportError: it disagrees with torch; see `verify_parity`.
        """
        path = self.folder / f"{plan.file_stem}.onnx"
        self._save(plan, path)
        runtime = Runtime("cpu")
        session = runtime.open(path)
        compared, measured = plan.few or (32, len(self.test))
        test = self.test.first(measured)
        few = test.images[:compared]
        deviation = self._compare(plan.twin, few, runtime) if plan.twin else _deviation(plan, session, few)
        accuracy = _accuracy(plan, session, test, runtime.open(self.classifier))
        print(f"{self.dataset}/{path.name}: largest deviation from torch {deviation:.1e}, clean accuracy {accuracy}")
        return self._entry(plan, path, accuracy, len(test), self._golden(plan, session))

    def _compare(self, plan: Plan, images: Tensor, runtime: Runtime) -> float:
        """The deviation of a plan whose graph is written for that alone."""
        path = self.folder / f"{plan.file_stem}.twin.onnx"
        self._save(plan, path)
        deviation = _deviation(plan, runtime.open(path), images)
        path.unlink()
        return deviation

    def _save(self, plan: Plan, path: Path) -> None:
        model = (plan.build or exported)(plan)
        share_weights(model, {key: place for name in plan.weights for key, place in self.weights[name].items()})
        model.producer_name = "adversarial-purifier"
        model.graph.name = path.stem
        # So that the graph's own hash stands for its weights too: answers name their models by it.
        weights = [path.with_name(f"{name}.weights") for name in plan.weights]
        helper.set_model_props(model, {file.name: manifests.sha256(file) for file in weights})
        onnx.save_model(model, path)
        onnx.checker.check_model(path)

    def _golden(self, plan: Plan, session: Session) -> tuple[int, ...] | None:
        """What the service's self-test compares with, of the graphs that it asks."""
        if plan.kind not in {"classifier", "pipeline"}:
            return None
        images = self.test.images[sampled(self.test)[:SELF_TEST_SAMPLES]]
        return tuple(_run(plan, session, images)["logits"].argmax(axis=1).tolist())

    def _entry(self, plan: Plan, path: Path, accuracy: float | None, n: int, golden: tuple[int, ...] | None) -> Graph:
        files = [self.folder / f"{name}.weights" for name in plan.weights]
        return Graph(
            name=f"{self.dataset}/{path.stem}",
            kind=plan.kind,
            dataset=self.dataset,
            defense=plan.defense,
            file=f"{self.dataset}/{path.name}",
            sha256=manifests.sha256(path),
            weights=tuple(
                HashedFile(file=f"{self.dataset}/{file.name}", sha256=manifests.sha256(file)) for file in files
            ),
            inputs=plan.inputs,
            outputs=plan.outputs,
            opset=OPSET,
            parameters=count_parameters(plan.module),
            training=dict(plan.config),
            seed=plan.config["seed"],
            commit=self.commit,
            accuracy=None if accuracy is None else manifests.MeasuredAccuracy(clean_accuracy=accuracy, n=n),
            slow=plan.few is not None,
            golden=golden,
        )


def _deviation(plan: Plan, session: Session, images: Tensor) -> float:
    return verify_parity(plan.reference, session, plan.inputs, images)


def _accuracy(plan: Plan, session: Session, test: Examples, classifier: Session) -> float | None:
    if plan.is_gradient or (plan.few and plan.kind == "pipeline"):
        return None

    def logits(images: Tensor) -> Tensor:
        found = _run(plan, session, images)
        if plan.kind == "purifier":
            found = classifier.run(images=found["purified_images"])
        return torch.from_numpy(found["logits"])

    return round(metrics.accuracy(metrics.predict(logits, test.images, batch_size=100), test.labels), 6)


def _run(plan: Plan, session: Session, images: Tensor) -> Tensors:
    """Latent noise zero, where the graph has any."""
    inputs = {"images": images.numpy()}
    noise = next((spec for spec in plan.inputs if spec.name == "noise"), None)
    if noise is not None:
        inputs["noise"] = np.zeros((len(images), *(int(size) for size in noise.shape[1:])), np.float32)
    return session.run(**inputs)
