"""An exported classifier computed in fp16: another graph over the same weights. Knows no manifest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def halve(source: Path, target: Path) -> None:
    """Write the classifier graph `source`, whose weights are stored as float16, computed in float16 to `target`.

    Images and logits stay float32. The weights are not written again: `target` names the same files, and must lie in
    the same folder.
    """
    model = onnx.load(source, load_external_data=False)
    graph = model.graph
    stored = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast"}
    (images,), (logits,) = graph.input, graph.output
    halves = {**stored, images.name: f"{images.name}.fp16", logits.name: f"{logits.name}.fp16"}
    nodes = [node for node in graph.node if node.op_type != "Cast"]
    for node in nodes:
        for names in (node.input, node.output):
            names[:] = [halves.get(name, name) for name in names]
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    enter = helper.make_node("Cast", [images.name], [halves[images.name]], to=TensorProto.FLOAT16)
    leave = helper.make_node("Cast", [halves[logits.name]], [logits.name], to=TensorProto.FLOAT)
    del graph.node[:]
    graph.node.extend([enter, *nodes, leave])
    graph.name = target.stem
    del graph.value_info[:]  # says float32
    onnx.save_model(model, target)
    onnx.checker.check_model(target, full_check=True)
