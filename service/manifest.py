"""models/manifest.json: what lies in the models folder, with hashes and contracts.

Written by `python -m training export`, verified by the service at start, and again where it opens a graph. Knows
neither HTTP nor ONNX.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from service.errors import ManifestError, shortened
from service.precision import Precision

FILE_NAME = "manifest.json"
Kind = Literal["classifier", "purifier", "pipeline", "classifier_gradient", "pipeline_gradient"]
_NO_DEFENSE = "none"
Sha256 = Field(pattern="^[0-9a-f]{64}$")


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorSpec(_Entry):
    """One input or output of a graph; the first dimension is the batch, written "N".

    `minimum` and `maximum` bound the values where the contract bounds them.
    """

    name: str
    dtype: Literal["float32"] = "float32"
    shape: tuple[int | Literal["N"], ...]
    minimum: float | None = None
    maximum: float | None = None


class HashedFile(_Entry):
    """A file, relative to the models folder, and its SHA-256."""

    file: str
    sha256: str = Sha256


class MeasuredAccuracy(_Entry):
    """Clean accuracy in [0, 1] measured on this very graph (noise zero, no attack)."""

    clean_accuracy: float = Field(ge=0, le=1)
    split: Literal["test"] = "test"
    n: int = Field(gt=0)


class Graph(_Entry):
    """One ONNX graph. `weights` are the external data files that it names; several graphs may share one."""

    name: str
    kind: Kind
    dataset: str
    defense: str = Field(description="the defense that it belongs to, 'none' for the data set's plain classifier")
    file: str
    sha256: str = Sha256
    weights: tuple[HashedFile, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    precision: Precision = "fp32"
    stored_precision: Literal["fp16", "int8"] = "fp16"
    opset: int
    parameters: int = Field(description="number of trained weights, shared ones counted once")
    training: dict[str, Any]
    seed: int
    commit: str = Field(description="the commit of the code that trained and exported the graph")
    accuracy: MeasuredAccuracy | None = None
    slow: bool = Field(
        False, description="takes tenths of a second an image or more, so that it is computed apart from the others"
    )
    golden: tuple[Annotated[int, Field(ge=0, le=9)], ...] | None = Field(
        None, description="the classes that it named the first shipped samples when it was exported, noise zero"
    )

    @property
    def files(self) -> tuple[HashedFile, ...]:
        """Every file that it is made of."""
        return (HashedFile(file=self.file, sha256=self.sha256), *self.weights)

    @property
    def weights_sha256(self) -> str:
        """Of the file that holds its weights: the first of `weights`, or the graph's own."""
        return self.weights[0].sha256 if self.weights else self.sha256

    def input(self, name: str) -> TensorSpec | None:
        """The input of that name, None where the graph has none."""
        return next((spec for spec in self.inputs if spec.name == name), None)


class Samples(_Entry):
    """Test images shipped for demonstration: an .npz with `images` uint8 (N, 28, 28), `labels` (N,) int64."""

    dataset: str
    file: str
    sha256: str = Sha256
    count: int
    source: str
    licence: str


class Manifest(_Entry):
    """Everything in the models folder."""

    version: Literal[1] = 1
    class_names: dict[str, Annotated[tuple[str, ...], Field(min_length=10, max_length=10)]]
    graphs: tuple[Graph, ...]
    samples: tuple[Samples, ...]

    @field_validator("graphs")
    @classmethod
    def _named_apart(cls, graphs: tuple[Graph, ...]) -> tuple[Graph, ...]:
        names = Counter(graph.name for graph in graphs)
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"several graphs are named {', '.join(map(repr, twice))}; allowed: a name each")
        return graphs

    @model_validator(mode="after")
    def _of_its_data_sets(self) -> Manifest:
        entries: tuple[Graph | Samples, ...] = (*self.graphs, *self.samples)
        for entry in entries:
            if entry.dataset not in self.class_names:
                raise ValueError(f"{entry.file!r} is of dataset {entry.dataset!r}; allowed: {', '.join(self.datasets)}")
        return self

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the data sets, in the manifest's order."""
        return tuple(self.class_names)

    @property
    def precisions(self) -> set[Precision]:
        """Those that the plain classifier of every data set is shipped in."""
        shipped = {(g.dataset, g.precision) for g in self.graphs if (g.kind, g.defense) == ("classifier", _NO_DEFENSE)}
        return {precision for _, precision in shipped if all((name, precision) in shipped for name in self.datasets)}

    def defenses(self, dataset: str) -> tuple[str, ...]:
        """Names of a data set's defenses, 'autoencoder' first: purifiers, and classifiers in the plain one's place."""
        own = {g.defense for g in self.graphs if g.dataset == dataset and g.kind in {"purifier", "classifier"}}
        return tuple(sorted(own - {_NO_DEFENSE}, key=lambda name: (name != "autoencoder", name)))

    def purifier(self, dataset: str, defense: str) -> Graph | None:
        """What a defense puts before its classifier; None where that is nothing."""
        return self._find(dataset, "purifier", defense)

    def classifier(self, dataset: str, defense: str, precision: Precision = "fp32") -> Graph:
        """What answers for a defense: its own classifier, in fp32, or else the plain one in that precision.

        Raises:
            ManifestError: there is none.
        """
        own = None if defense == _NO_DEFENSE else self._find(dataset, "classifier", defense)
        return own or self.graph(dataset, "classifier", precision=precision)

    def graph(self, dataset: str, kind: Kind, defense: str = _NO_DEFENSE, precision: Precision = "fp32") -> Graph:
        """The one graph of that data set, kind, defense and precision.

        Raises:
            ManifestError: there is none.
        """
        if (found := self._find(dataset, kind, defense, precision)) is not None:
            return found
        raise ManifestError(
            f"the manifest has no {kind} for dataset {dataset!r} with defense {defense!r} and precision {precision!r}"
        )

    def _find(self, dataset: str, kind: Kind, defense: str, precision: Precision = "fp32") -> Graph | None:
        wanted = (dataset, kind, defense, precision)
        return next((g for g in self.graphs if (g.dataset, g.kind, g.defense, g.precision) == wanted), None)


def read(folder: Path) -> Manifest:
    """The manifest of a models folder; the files themselves are not looked at.

    Raises:
        ManifestError: it is missing, not JSON, or breaks the schema.
    """
    path = folder / FILE_NAME
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise ManifestError(f"{path} does not exist; give the folder that holds {FILE_NAME}") from error
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error}") from error
    except ValidationError as error:
        raise ManifestError(f"{path} breaks the schema: {_sentence(error)}") from error


def _sentence(error: ValidationError) -> str:
    """What is wrong at the first place that is, and how many others there are."""
    first, *others = error.errors()
    place = ".".join(map(str, first["loc"]))
    sentence = f"{place}: {first['msg']}; found {shortened(first['input'])}" if place else first["msg"]
    return f"{sentence} ({len(others)} more)" if others else sentence


def verify(folder: Path, manifest: Manifest) -> None:
    """Check every file against its hash.

    Raises:
        ManifestError: a file is missing, lies outside the folder, or has another SHA-256.
    """
    graphs = [file for graph in manifest.graphs for file in graph.files]
    samples = [HashedFile(file=entry.file, sha256=entry.sha256) for entry in manifest.samples]
    for entry in dict.fromkeys([*graphs, *samples]):
        check(folder, entry)


def check(folder: Path, entry: HashedFile) -> None:
    """Check one file against its hash.

    Raises:
        ManifestError: as `verify`.
    """
    try:
        path = (folder / entry.file).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise ManifestError(f"the manifest names {entry.file!r}, which lies outside {folder}")
        if not path.is_file():
            raise ManifestError(f"{path} is named by the manifest but does not exist")
        found = sha256(path)
    except (OSError, ValueError) as error:
        # Of a name that is too long for the system, or holds a NUL, or a file that may not be read.
        why = error.strerror if isinstance(error, OSError) else error
        raise ManifestError(f"the manifest names {shortened(entry.file)}, which cannot be read: {why}") from error
    if found != entry.sha256:
        raise ManifestError(f"{path} has SHA-256 {found}, the manifest says {entry.sha256}; restore the file")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
