"""Which graphs the protocol offers, how it describes them, reads their requests and writes their answers. Knows no
HTTP, and computes nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from service.catalog import Catalog, FloatArray, noise
from service.errors import ManifestError, NotFoundError, TensorError, shortened
from service.inference import Tensors
from service.manifest import Graph, TensorSpec
from service.oip import tensors
from service.oip.request import InferRequest, OutputChoice, only, parse, truth, whole_number

VERSION = "1"
MAX_BATCH = 32
PLATFORM = "onnxruntime_onnx"
MAX_SEED = 2**32 - 1
_OFFERED = ("classifier", "purifier", "pipeline")
_RESERVED = ("", ".", "..", "stats")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")
# Draws of a normal distribution stay far below; without a limit finite noise could give infinite answers.
_MAX_NOISE = 100.0


@dataclass(frozen=True)
class Inference:
    """A request that was read: input arrays of as many rows each, and how the outputs are to be written."""

    arrays: dict[str, FloatArray]
    outputs: tuple[OutputChoice, ...]
    binary: bool
    id: str | None

    @property
    def rows(self) -> int:
        """How many images are asked about."""
        return len(self.arrays["images"])


@dataclass(frozen=True)
class Model:
    """A graph under its name on the wire. `noise`, where the graph has it, is an optional input."""

    name: str
    graph: Graph
    class_names: tuple[str, ...]

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs with the ranges that are allowed on the wire."""
        limits = {"minimum": -_MAX_NOISE, "maximum": _MAX_NOISE}
        return tuple(spec.model_copy(update=limits) if spec.name == "noise" else spec for spec in self.graph.inputs)

    def metadata(self) -> dict[str, Any]:
        """Names, datatypes and shapes, as the protocol describes a model."""
        return {
            "name": self.name,
            "versions": [VERSION],
            "platform": PLATFORM,
            "inputs": [_tensor_metadata(spec) for spec in self.inputs],
            "outputs": [_tensor_metadata(spec) for spec in self.graph.outputs],
        }

    def config(self) -> dict[str, Any]:
        """The same as Triton's model configuration, which `perf_analyzer` asks for."""
        return {
            "name": self.name,
            "platform": PLATFORM,
            "backend": "onnxruntime",
            "version_policy": {"latest": {"num_versions": 1}},
            "max_batch_size": MAX_BATCH,
            "input": [{**_tensor_config(spec), "optional": spec.name == "noise"} for spec in self.inputs],
            "output": [_tensor_config(spec) for spec in self.graph.outputs],
        }

    def read(self, body: bytes, header_length: str | None) -> Inference:
        """A request off the wire; `header_length` is how much of it is JSON, as text (None: all).

        Raises:
            TensorError: the request breaks the protocol or a limit.
        """
        request, chunks = parse(body, header_length)
        only(request.parameters, ["seed", "binary_data_output"], "the request")
        arrays = self._arrays(request, chunks)
        binary = truth(request.parameters, "binary_data_output", False, "the request")
        return Inference(arrays, tuple(self._asked(request)), binary, request.id)

    def write(self, inference: Inference, results: Tensors) -> tuple[bytes, int | None]:
        """The body of the answer, and how much of it is JSON; None where all of it is."""
        heading = {"model_name": self.name, "model_version": VERSION}
        if inference.id is not None:
            heading["id"] = inference.id
        outputs = [self._output(choice, results[choice.name], inference.binary) for choice in inference.outputs]
        return tensors.write(heading, outputs)

    def _arrays(self, request: InferRequest, chunks: list[bytes | None]) -> dict[str, FloatArray]:
        specs = {spec.name: spec for spec in self.inputs}
        arrays: dict[str, FloatArray] = {}
        for tensor, chunk in zip(request.inputs, chunks, strict=True):
            if tensor.name not in specs:
                raise TensorError(f"unknown input {shortened(tensor.name)}; allowed: {', '.join(specs)}")
            arrays[tensor.name] = tensors.read(tensor, chunk, specs[tensor.name], MAX_BATCH)
        if "images" not in arrays:
            raise TensorError(f"the input 'images' is missing; given: {', '.join(arrays)}")
        seed = whole_number(request.parameters, "seed", (0, MAX_SEED), "the request")
        if seed is not None and ("noise" in arrays or "noise" not in specs):
            why = "the input 'noise' is given too" if "noise" in arrays else f"{self.name} has no noise"
            raise TensorError(f"the request has seed {seed}, and {why}; allowed: no seed")
        n = len(arrays["images"])
        if "noise" in specs:
            arrays.setdefault("noise", noise(self.graph, n, seed))
        for name, array in arrays.items():
            if len(array) != n:
                raise TensorError(f"input {name!r} has a batch of {len(array)}, and 'images' one of {n}; allowed: one")
        return arrays

    def _asked(self, request: InferRequest) -> list[OutputChoice]:
        """The outputs that are asked for; all where none is."""
        specs = {spec.name: spec for spec in self.graph.outputs}
        for choice in request.outputs:
            if choice.name not in specs:
                raise TensorError(f"unknown output {shortened(choice.name)}; allowed: {', '.join(specs)}")
            place = f"output {choice.name!r}"
            can_classify = specs[choice.name].shape == ("N", len(self.class_names))
            only(choice.parameters, ["binary_data", *(["classification"] if can_classify else [])], place)
            whole_number(choice.parameters, "classification", (1, len(self.class_names)), place)
            truth(choice.parameters, "binary_data", False, place)
        return request.outputs or [OutputChoice(name=name) for name in specs]

    def _output(self, choice: OutputChoice, values: FloatArray, by_default: bool) -> tensors.OutputTensor:
        binary = bool(choice.parameters.get("binary_data", by_default))
        count = choice.parameters.get("classification")
        if count is None:
            return tensors.OutputTensor(choice.name, values, binary)
        return tensors.OutputTensor(choice.name, tensors.classification(values, count, self.class_names), binary)


def offered(catalog: Catalog) -> dict[str, Model]:
    """The models by name: the manifest's names, with a dash for what a path cannot hold ('mnist-classifier').

    Raises:
        ManifestError: two graphs would have one name, or one a name that has a meaning in paths.
    """
    models: dict[str, Model] = {}
    for graph in catalog.manifest.graphs:
        if graph.kind in _OFFERED:
            name = _UNSAFE.sub("-", graph.name)
            if name in models or name in _RESERVED:
                taken = f"graph {models[name].graph.name!r}" if name in models else "another path of /v2/models"
                raise ManifestError(f"graph {graph.name!r} would be {name!r} in /v2, as is {taken}; rename one of them")
            models[name] = Model(name, graph, catalog.class_names(graph.dataset))
    return models


def find(catalog: Catalog, name: str) -> Model:
    """The model of that name.

    Raises:
        NotFoundError: there is none.
    """
    models = offered(catalog)
    if name not in models:
        raise NotFoundError(f"unknown model {shortened(name)}; allowed: {', '.join(models)}")
    return models[name]


def _tensor_metadata(spec: TensorSpec) -> dict[str, Any]:
    shape = [-1 if size == "N" else size for size in spec.shape]
    return {"name": spec.name, "datatype": tensors.DATATYPE, "shape": shape}


def _tensor_config(spec: TensorSpec) -> dict[str, Any]:
    """Without the batch, which a configuration tells by `max_batch_size`."""
    return {"name": spec.name, "data_type": f"TYPE_{tensors.DATATYPE}", "dims": list(spec.shape[1:])}
