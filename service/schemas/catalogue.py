"""What is there: models, samples, recorded results, and whether the service is ready."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from service.records import Record
from service.schemas.values import Answer, Label, Probability


class SampleAnswer(Answer):
    """A shipped test image."""

    index: int
    label: Label
    class_name: str
    url: str


class SampleSetAnswer(Answer):
    """The shipped test images of a data set."""

    count: int
    source: str
    licence: str
    samples: tuple[SampleAnswer, ...]


class SamplesAnswer(Answer):
    """The shipped test images, by data set."""

    datasets: dict[str, SampleSetAnswer]


class WeightsAnswer(Answer):
    """A file of weights; several graphs may share one."""

    file: str
    sha256: str


class GraphAnswer(Answer):
    """One graph of the manifest, and whether and where it is loaded."""

    name: str
    kind: str
    defense: str
    file: str
    sha256: str = Field(description="of the graph, which names its weight files with theirs")
    weights: tuple[WeightsAnswer, ...]
    parameters: int
    precision: str
    stored_precision: str
    opset: int
    clean_accuracy: Probability | None
    accuracy_images: int | None = Field(description="test images that the accuracy was measured on")
    training: dict[str, Any]
    seed: int
    commit: str
    loaded: bool
    provider: str | None = Field(description="the execution provider that it got; null while not loaded")


class DatasetAnswer(Answer):
    """What is there for one data set."""

    class_names: tuple[str, ...]
    defenses: tuple[str, ...]
    graphs: tuple[GraphAnswer, ...]


class RuntimeAnswer(Answer):
    """The engine: what was asked for and what it got."""

    device_asked: str
    providers: tuple[str, ...] = Field(description="execution providers in use")
    onnxruntime: str
    threads: int
    precision_asked: str
    precision: str = Field(description="of the classifiers that answer; attacks are made and judged in fp32")


class ModelsAnswer(Answer):
    """The catalogue."""

    runtime: RuntimeAnswer
    datasets: dict[str, DatasetAnswer]
    switched_off: tuple[str, ...] = Field(description="paths that the operator has not switched on; they answer 403")


class ResultsAnswer(Answer):
    """Recorded results, one row a measurement."""

    rows: tuple[Record, ...]


class HealthAnswer(Answer):
    """The process lives."""

    status: Literal["alive"] = "alive"


class ReadyAnswer(RuntimeAnswer):
    """The models are loaded, verified and warm."""

    status: Literal["ready"] = "ready"
    datasets: tuple[str, ...]
