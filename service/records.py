"""models/results.csv, as far as it speaks of the graphs that are served. Knows no HTTP.

`python -m training evaluate` writes the file; a row names the graphs that answered, each with the first digits of
its weight files' SHA-256.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import RecordsError
from service.manifest import Manifest

FILE_NAME = "results.csv"


class Record(BaseModel):
    """One measurement: accuracies in [0, 1] on `n` test images, with a Wilson 95 % interval under attack."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    dataset: str
    defense: str
    attack: str
    norm: str
    eps: float = Field(allow_inf_nan=False)
    knowledge: str
    steps: int
    restarts: int
    n: int
    clean_accuracy: float = Field(ge=0, le=1)
    robust_accuracy: float = Field(ge=0, le=1)
    ci_low: float = Field(ge=0, le=1)
    ci_high: float = Field(ge=0, le=1)
    precision: str


def read(folder: Path, manifest: Manifest) -> tuple[Record, ...]:
    """The rows whose graphs are those of the manifest, with the latent noise zero, as requests without a seed have it.

    None where the folder holds no results.

    Raises:
        RecordsError: the file cannot be read as results.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return ()
    digests = {graph.name: graph.weights_sha256 for graph in manifest.graphs}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return tuple(_current(csv.DictReader(file), digests))
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise RecordsError(f"{FILE_NAME} holds what is no row of results: {_reason(error)}") from error


def largest(records: Iterable[Record], dataset: str, defense: str, attack: str, eps: float) -> Record | None:
    """The fp32 row of the most images under an oblivious attack in L-inf, or none; None where there is none."""
    wanted = (dataset, defense, attack, eps, "linf", "" if attack == "none" else "oblivious", "fp32")
    found = [
        record
        for record in records
        if (record.dataset, record.defense, record.attack, record.eps, record.norm, record.knowledge, record.precision)
        == wanted
    ]
    return max(found, key=lambda record: record.n, default=None)


def _current(rows: Iterable[dict[str, str]], digests: dict[str, str]) -> Iterable[Record]:
    for row in rows:
        graphs = [part.partition("@") for part in row["artefact"].split("+")]
        served = all(digest and digests.get(name, "").startswith(digest) for name, _, digest in graphs)
        if served and row["noise"] in {"", "zero"}:
            yield Record.model_validate(row)


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{item['loc'][0]}: {item['msg'].lower()}" for item in error.errors())
    return f"{type(error).__name__}"
