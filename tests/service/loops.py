"""A graph that takes as long as one likes."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper


def adding(path: Path, turns: int) -> Path:
    """A graph that adds 1 so often."""
    scalar, one = helper.make_tensor_value_info, helper.make_tensor("one", TensorProto.FLOAT, (1,), [1.0])
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["goes_on"]), helper.make_node("Add", ["before", "one"], ["after"])],
        "turn",
        [
            scalar("number", TensorProto.INT64, ()),
            scalar("going", TensorProto.BOOL, ()),
            scalar("before", TensorProto.FLOAT, (1,)),
        ],
        [scalar("goes_on", TensorProto.BOOL, ()), scalar("after", TensorProto.FLOAT, (1,))],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["turns", "", "images"], ["sum"], body=body)],
        "endless",
        [scalar("images", TensorProto.FLOAT, (1,))],
        [scalar("sum", TensorProto.FLOAT, (1,))],
        [helper.make_tensor("turns", TensorProto.INT64, (), [turns]), one],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path
