"""models/latency.csv: one row a timing. Knows no models."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training import row_files

FILE_NAME = "latency.csv"
Stage = Literal["purify", "classify", "pipeline"]
Library = Literal["onnxruntime", "torch"]


@dataclass(frozen=True)
class Latency:
    """Percentiles of `n` calls of one stage, in milliseconds a call, that is for the whole `batch`.

    `device` names the processor, and how many threads of it were used.
    """

    dataset: str
    stage: Stage
    defense: str
    batch: int
    precision: str
    runtime: Library
    device: str
    p50_ms: float
    p95_ms: float
    p99_ms: float
    n: int
    commit: str

    @property
    def key(self) -> tuple[object, ...]:
        """What was timed, without what came out."""
        return (self.dataset, self.stage, self.defense, self.batch, self.precision, self.runtime, self.device)


def read(path: Path) -> list[Latency]:
    """All rows; none where the file does not exist.

    Raises:
        EvaluationError: the columns are not those of `Latency`, or a value has the wrong type.
    """
    return row_files.read(path, Latency)


def merge(path: Path, rows: Iterable[Latency]) -> None:
    """Write rows beside those that are there, in place of those that timed the same; in one step."""
    merged = {row.key: row for row in [*read(path), *rows]}
    row_files.write(path, (merged[key] for key in sorted(merged, key=lambda key: (key[-1], *key))), Latency)


def p50_ms(rows: Iterable[Latency], **wanted: object) -> float | None:
    """The median of the one row whose columns have the values `wanted`; None where there is none."""
    found = (row.p50_ms for row in rows if all(getattr(row, name) == value for name, value in wanted.items()))
    return next(found, None)
