"""An exported classifier in float16, on the same weight file as the float32 one. Knows no manifest."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with every operator in float16; its inputs and outputs stay float32, and the weights where they lie.

    The weights are stored as float16 and cast (see `onnx_graphs`): the casts go, so that what is stored is what is
    multiplied. The few float32 values inside the graph are rounded.

    Args:
        model: loaded without its external data.
    """
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    names = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast" and node.input[0] in stored}
    nodes = [node for node in graph.node if not (node.op_type == "Cast" and node.input[0] in stored)]
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            _round(tensor)
    for node in nodes:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.t.data_type == TensorProto.FLOAT:
                _round(attribute.t)
    names |= {value.name: f"{value.name}.fp16" for value in (*graph.input, *graph.output)}
    for node in nodes:
        _rename(node.input, names)
        _rename(node.output, names)
    entering = [helper.make_node("Cast", [v.name], [names[v.name]], to=TensorProto.FLOAT16) for v in graph.input]
    leaving = [helper.make_node("Cast", [names[v.name]], [v.name], to=TensorProto.FLOAT) for v in graph.output]
    del graph.node[:], graph.value_info[:]
    graph.node.extend([*entering, *nodes, *leaving])
    return model


def _round(tensor: TensorProto) -> None:
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))


def _rename(places: list[str], names: dict[str, str]) -> None:
    for index, name in enumerate(places):
        places[index] = names.get(name, name)
