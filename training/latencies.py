"""models/latency.csv: one row a timing. Knows no models."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from training.errors import EvaluationError

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
    if not path.exists():
        return []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        expected = [field.name for field in fields(Latency)]
        if reader.fieldnames != expected:
            raise EvaluationError(f"{path} has columns {reader.fieldnames}; expected {expected}")
        return [_parse(path, line) for line in reader]


def merge(path: Path, rows: Iterable[Latency]) -> None:
    """Write rows beside those that are there, in place of those that timed the same; in one step."""
    merged = {row.key: row for row in [*read(path), *rows]}
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=[field.name for field in fields(Latency)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(merged[key]) for key in sorted(merged, key=lambda key: (key[-1], *key)))
    temporary.replace(path)


def p50_ms(rows: Iterable[Latency], **wanted: object) -> float | None:
    """The median of the one row whose columns have the values `wanted`; None where there is none."""
    found = (row.p50_ms for row in rows if all(getattr(row, name) == value for name, value in wanted.items()))
    return next(found, None)


def _parse(path: Path, line: dict[str, str]) -> Latency:
    numbers = {"batch": int, "n": int, "p50_ms": float, "p95_ms": float, "p99_ms": float}
    try:
        return Latency(**{name: numbers.get(name, str)(value) for name, value in line.items()})
    except ValueError as error:
        raise EvaluationError(f"{path} holds a row with a wrong value ({error}): {line}") from error
