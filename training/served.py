"""torch modules with the weights of the served graphs, so that attacks are made on what is shipped."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from service.catalog import NO_DEFENSE
from service.errors import ManifestError
from service.manifest import Manifest
from service.precision import Precision
from training import classifiers, results
from training.errors import EvaluationError
from training.pipeline import Pipeline, freeze
from training.purifiers import ARCHITECTURES
from training.results import Row


def artefact(manifest: Manifest, dataset: str, defense: str, precision: Precision = "fp32") -> str:
    """The graphs that answer with a defense, each with the first 12 digits of the SHA-256 of the file of its weights.

    Raises:
        ManifestError: there is no such defense, or no classifier of that precision.
    """
    if defense not in {NO_DEFENSE, *manifest.defenses(dataset)}:
        raise ManifestError(f"the manifest has no defense {defense!r} for dataset {dataset!r}")
    purifier = manifest.purifier(dataset, defense)
    graphs = [manifest.classifier(dataset, defense, precision), *([purifier] if purifier else [])]
    return "+".join(f"{graph.name}@{graph.weights_sha256[:12]}" for graph in graphs)


def is_current(manifest: Manifest, row: Row) -> bool:
    """Whether a row was measured on the graphs that the manifest names, not on ones that these have replaced."""
    try:
        return row.artefact == artefact(manifest, row.dataset, row.defense, cast(Precision, row.precision))
    except ManifestError:
        return False


def current_rows(models: Path, manifest: Manifest) -> list[Row]:
    """The rows of models/results.csv that are about the graphs that are there."""
    return [row for row in results.read(models / results.FILE_NAME) if is_current(manifest, row)]


def load_classifier(models: Path, manifest: Manifest, dataset: str, defense: str = NO_DEFENSE) -> nn.Module:
    """The classifier that answers for a defense, frozen, with the weights of its fp32 ONNX graph.

    Raises:
        EvaluationError: the graph lacks a weight that the module has.
    """
    graph = manifest.classifier(dataset, defense)
    build = classifiers.ARCHITECTURES[graph.training.get("architecture", "vgg16")]
    return _filled(build(), models / graph.file, prefix="")


def load_pipeline(models: Path, manifest: Manifest, dataset: str, defense: str) -> Pipeline:
    """Purifier and classifier as one module, frozen; see `load_classifier`."""
    graph = manifest.graph(dataset, "purifier", defense)
    build = ARCHITECTURES[graph.training["architecture"]]
    purifier = _filled(build(graph.training["noise_std"]), models / graph.file, prefix="purifier.")
    return Pipeline(purifier, load_classifier(models, manifest, dataset, defense)).eval()


def _filled(module: nn.Module, path: Path, prefix: str) -> nn.Module:
    # What is put together from several graphs has a part's name before that: 'choose/purifier.'
    stored = {name[max(name.find(prefix), 0) :].removeprefix(prefix): t for name, t in read_weights(path).items()}
    state = module.state_dict()
    misfits = [
        name
        for name, value in state.items()
        if not name.endswith("num_batches_tracked") and (name not in stored or stored[name].shape != value.shape)
    ]
    if misfits:
        raise EvaluationError(
            f"{path} lacks the weights {', '.join(misfits)} of {type(module).__name__}, or has them in another shape"
        )
    module.load_state_dict({name: stored.get(name, value) for name, value in state.items()})
    return freeze(module).to(memory_format=torch.channels_last)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Float32 tensors of an exported graph by the names they have in the torch module."""
    model = onnx.load(path)
    names = {node.input[0]: node.output[0] for node in model.graph.node if node.op_type == "Cast"}
    return {
        names.get(tensor.name, tensor.name): torch.from_numpy(numpy_helper.to_array(tensor).copy()).float()
        for tensor in model.graph.initializer
    }
