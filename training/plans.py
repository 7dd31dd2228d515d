"""Which graphs a trained classifier or defense is exported as. Knows no files."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from onnx import ModelProto
from torch import nn

from service.catalog import NO_DEFENSE
from service.manifest import TensorSpec
from training.descent_graph import chained, descent_to_onnx
from training.graph_files import Plan, exported
from training.parity import GRADIENT_OUTPUT
from training.pipeline import ClampedPurifier, Pipeline, Purifier, freeze
from training.purifiers.defense_gan import DefenseGAN

IMAGES = TensorSpec(name="images", shape=("N", 1, 28, 28), minimum=0.0, maximum=1.0)
LOGITS = TensorSpec(name="logits", shape=("N", 10))
PURIFIED = TensorSpec(name="purified_images", shape=("N", 1, 28, 28), minimum=0.0, maximum=1.0)
_COTANGENT = TensorSpec(name="cotangent", shape=("N", 10))
_SOFTMAX_WEIGHT = TensorSpec(name="softmax_weight", shape=("N", 1))
_VJP = (IMAGES, _COTANGENT, _SOFTMAX_WEIGHT)
_PULLED = (LOGITS, GRADIENT_OUTPUT)
# Seconds an image: few are measured. One is compared with torch, by its logits alone: what a generator paints beside
# black ties the classifier's pooling but for rounding, so that no two engines agree on the gradient there.
_FEW = (1, 40)
# A rounding error grows from step to step of a descent: after two hundred, torch and ONNX Runtime differ in the third
# digit and both are right.
_COMPARED_STEPS = 10


@dataclass(frozen=True)
class TrainedPurifier:
    """A purifier with the name under which it is served and the configuration that trained it."""

    defense: str
    module: nn.Module
    config: Mapping[str, Any]


@dataclass(frozen=True)
class TrainedClassifier:
    """A classifier with the configuration that trained it; the plain one, or the defense of that name."""

    module: nn.Module
    config: Mapping[str, Any]
    defense: str = NO_DEFENSE

    @property
    def weights(self) -> str:
        """The name of its file of weights."""
        return "classifier" if self.defense == NO_DEFENSE else self.defense


def classifier_plans(trained: TrainedClassifier) -> Iterator[Plan]:
    """A classifier, and its gradient."""
    name, module, weights = trained.defense, trained.module, (trained.weights,)
    yield Plan("classifier", name, module, (IMAGES,), (LOGITS,), weights, trained.config)
    yield Plan("classifier_gradient", name, module, _VJP, _PULLED, weights, trained.config)


def purifier_plans(trained: TrainedPurifier, classifier: nn.Module) -> Iterator[Plan]:
    """A purifier, the pipeline that it makes with the plain classifier, and the pipeline's gradient."""
    if not isinstance(trained.module, DefenseGAN):
        return _three(trained, classifier)
    short = replace(trained, module=trained.module.shortened(_COMPARED_STEPS))
    pairs = zip(_descending(trained, classifier), _descending(short, classifier), strict=True)
    return (replace(plan, few=_FEW, twin=twin) for plan, twin in pairs)


def _three(trained: TrainedPurifier, classifier: nn.Module) -> Iterator[Plan]:
    name = trained.defense
    noise = TensorSpec(name="noise", shape=("N", *cast(Purifier, trained.module).noise_shape))
    pipeline = freeze(Pipeline(trained.module, classifier))
    clamped = freeze(ClampedPurifier(trained.module))
    both = ("classifier", name)
    yield Plan("purifier", name, clamped, (IMAGES, noise), (PURIFIED,), (name,), trained.config)
    yield Plan("pipeline", name, pipeline, (IMAGES, noise), (LOGITS,), both, trained.config)
    yield Plan("pipeline_gradient", name, pipeline, (*_VJP, noise), _PULLED, both, trained.config)


def _descending(trained: TrainedPurifier, classifier: nn.Module) -> Iterator[Plan]:
    """Defense-GAN's, whose purifier is a loop; its gradient is the classifier's at the purified image."""
    purifier = cast(DefenseGAN, trained.module)

    @functools.cache
    def descent() -> ModelProto:
        noise = TensorSpec(name="noise", shape=("N", *purifier.noise_shape))
        return descent_to_onnx(purifier, IMAGES, noise, PURIFIED)

    def build(plan: Plan) -> ModelProto:
        if plan.kind == "purifier":
            return copy.deepcopy(descent())
        answer, gradient = classifier_plans(TrainedClassifier(classifier, {}))
        return chained(descent(), exported(gradient if plan.is_gradient else answer), plan.inputs, plan.outputs)

    for plan in _three(trained, classifier):
        config = {**plan.config, "gradient": "identity"} if plan.is_gradient else plan.config
        yield replace(plan, build=build, config=config)
