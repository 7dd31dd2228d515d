"""Defense-GAN as one ONNX graph: its descent is a Loop, whose body is a generator's gradient. Knows no files."""

from __future__ import annotations

import onnx
from onnx import GraphProto, ModelProto, TensorProto, compose, helper
from torch import Tensor, nn

from service.manifest import TensorSpec
from training.gradient_graph import trace
from training.onnx_graphs import to_onnx
from training.parity import examples
from training.purifiers.defense_gan import DefenseGAN


class _Begin(nn.Module):
    def __init__(self, purifier: DefenseGAN) -> None:
        super().__init__()
        self.purifier = purifier

    def forward(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        return self.purifier.begin(noise)


class _Choose(nn.Module):
    def __init__(self, purifier: DefenseGAN) -> None:
        super().__init__()
        self.purifier = purifier

    def forward(self, codes: Tensor, images: Tensor) -> Tensor:
        return self.purifier.choose(codes, images)


def descent_to_onnx(
    purifier: DefenseGAN, images: TensorSpec, noise: TensorSpec, purified_images: TensorSpec
) -> ModelProto:
    """(images, noise) to purified images, with a free batch dimension "N"; the weights still inside, some twice."""
    codes, velocity, moved, faster = (
        TensorSpec(name=name, shape=noise.shape) for name in ("codes", "velocity", "codes_after", "velocity_after")
    )
    state = (codes, velocity, images)
    begin = _named("begin", to_onnx(_Begin(purifier), examples((noise,)), (noise,), (codes, velocity)))

    def stepped(codes: Tensor, velocity: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        return purifier.step(codes, velocity, images)  # a method itself would be traced with its `self`

    traced = trace(stepped, examples(state))
    step = _named("step", to_onnx(traced, examples(state), state, (moved, faster)))
    choose = to_onnx(_Choose(purifier), examples((codes, images)), (codes, images), (purified_images,))
    choose = _named("choose", choose)
    loop = helper.make_node(
        "Loop",
        ["length", "", "begin/codes", "begin/velocity"],
        ["choose/codes", "last_velocity"],
        body=_body(step.graph),
    )
    entry = [helper.make_node("Identity", [name], [f"{part}/{name}"]) for part, name in _ENTRIES]
    leaving = helper.make_node("Identity", [f"choose/{purified_images.name}"], [purified_images.name])
    length = helper.make_tensor("length", TensorProto.INT64, (), [purifier.steps])
    parts = (begin.graph, step.graph, choose.graph)
    graph = helper.make_graph(
        [*entry, *begin.graph.node, loop, *choose.graph.node, leaving],
        "descent",
        [_value(images), _value(noise)],
        [_value(purified_images)],
        [length, *(tensor for part in parts for tensor in part.initializer)],
    )
    return helper.make_model(graph, opset_imports=begin.opset_import, ir_version=begin.ir_version)


def chained(
    purifier: ModelProto, judge: ModelProto, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> ModelProto:
    """A purifier's graph with another behind it, whose input `images` are the purified ones."""
    judge = _named("judge", judge)
    entry = [
        helper.make_node("Identity", ["purified_images" if name == "images" else name], [f"judge/{name}"])
        for name in (value.name.removeprefix("judge/") for value in judge.graph.input)
    ]
    leaving = [helper.make_node("Identity", [f"judge/{spec.name}"], [spec.name]) for spec in outputs]
    graph = helper.make_graph(
        [*purifier.graph.node, *entry, *judge.graph.node, *leaving],
        "chained",
        [_value(spec) for spec in inputs],
        [_value(spec) for spec in outputs],
        [*purifier.graph.initializer, *judge.graph.initializer],
    )
    return helper.make_model(graph, opset_imports=purifier.opset_import, ir_version=purifier.ir_version)


# Which part of the graph takes which of its inputs.
_ENTRIES = (("begin", "noise"), ("step", "images"), ("choose", "images"))


def _named(part: str, model: ModelProto) -> ModelProto:
    """The same with every name behind its part's, so that names of different parts are different."""
    return compose.add_prefix(model, f"{part}/")


def _body(step: GraphProto) -> GraphProto:
    """One turn of the loop; the step's weights and the images are those of the graph around it."""
    number = helper.make_tensor_value_info("step/number", TensorProto.INT64, ())
    going = helper.make_tensor_value_info("step/going", TensorProto.BOOL, ())
    goes_on = helper.make_tensor_value_info("step/goes_on", TensorProto.BOOL, ())
    carried = [value for value in step.input if value.name != "step/images"]
    again = helper.make_node("Identity", [going.name], [goes_on.name])
    return helper.make_graph([again, *step.node], "step", [number, going, *carried], [goes_on, *step.output])


def _value(spec: TensorSpec) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(spec.name, TensorProto.FLOAT, spec.shape)
