"""torch modules to ONNX graphs whose weights lie in shared float16 files.

Several graphs of a folder (classifier, pipelines, gradients) use the same weights. Each module's weights are
written once, as float16, to `NAME.weights`; graphs name them as external data and cast them at load.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from service.manifest import TensorSpec
from training.errors import ExportError

OPSET = 20
_ALIGNMENT = 64
_SMALLEST_SHARED = 256


@dataclass(frozen=True)
class StoredTensor:
    """Where a weight lies: its file's name and its place in it."""

    name: str
    file: str
    offset: int
    length: int


StoredTensors = dict[bytes, StoredTensor]


def write_weights(module: nn.Module, path: Path) -> StoredTensors:
    """Write a module's tensors as float16 to `path`.

    Returns:
        Where each lies, by its float32 bytes.

    Raises:
        ExportError: a weight is not exactly a float16 value (see `round_to_stored_precision`).
    """
    stored, content = _packed(module, path)
    path.write_bytes(content)
    return stored


def stored_weights(module: nn.Module, path: Path) -> StoredTensors:
    """Where a module's tensors lie in a file that `write_weights` wrote of them.

    Raises:
        ExportError: the file holds something else.
    """
    stored, content = _packed(module, path)
    if path.read_bytes() != content:
        raise ExportError(
            f"{path} holds other weights than this {type(module).__name__} has; export the data set again"
        )
    return stored


def _packed(module: nn.Module, path: Path) -> tuple[StoredTensors, bytes]:
    stored: StoredTensors = {}
    content = bytearray()
    for name, tensor in module.state_dict().items():
        if not tensor.is_floating_point() or tensor.numel() < _SMALLEST_SHARED:
            continue
        values = tensor.detach().cpu().contiguous().numpy()
        half = values.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), values):
            raise ExportError(f"{name} is not rounded to float16; round the weights before they are measured")
        content += b"\0" * (-len(content) % _ALIGNMENT)
        key = values.tobytes()
        stored[key] = StoredTensor(f"{path.stem}.{name}", path.name, len(content), half.nbytes)
        content += half.tobytes()
    return stored, bytes(content)


def to_onnx(
    module: nn.Module,
    examples: tuple[Tensor, ...],
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
) -> onnx.ModelProto:
    """Export with a free batch dimension "N" and the names of the specs; the weights still inside."""
    batch = torch.export.Dim("N")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            module,
            examples,
            dynamo=True,
            opset_version=OPSET,
            input_names=[spec.name for spec in inputs],
            output_names=[spec.name for spec in outputs],
            dynamic_shapes=tuple({0: batch} for _ in examples),
            # ONNX Runtime folds constants at load; folded here, a flipped weight would be stored a second time.
            optimize=False,
            verbose=False,
        )
    if program is None:
        raise ExportError("torch.onnx.export returned no program")
    model = program.model_proto
    del model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    return model


def share_weights(model: onnx.ModelProto, stored: StoredTensors) -> None:
    """Replace, in place, every large initializer by a float16 one in a weight file and a Cast.

    Raises:
        ExportError: a large initializer is in no weight file.
    """
    casts = []
    for index, tensor in enumerate(model.graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _SMALLEST_SHARED:
            continue
        place = stored.get(np.ascontiguousarray(values).tobytes())
        if place is None:
            raise ExportError(f"initializer {tensor.name!r} of shape {values.shape} is in no weight file")
        external = _external(f"{place.name}.{index}.fp16", values.shape, place)
        casts.append(helper.make_node("Cast", [external.name], [tensor.name], to=TensorProto.FLOAT))
        tensor.CopyFrom(external)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _external(name: str, shape: tuple[int, ...], place: StoredTensor) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT16, dims=shape)
    tensor.data_location = TensorProto.EXTERNAL
    entries = {"location": place.file, "offset": str(place.offset), "length": str(place.length)}
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return tensor
