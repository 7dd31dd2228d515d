"""models/results.csv: one row a measurement. Tables, figures and the README are made from the rows."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from training.errors import EvaluationError

FILE_NAME = "results.csv"
_MEASURED = {"clean_accuracy", "robust_accuracy", "ci_low", "ci_high", "device", "commit"}


@dataclass(frozen=True)
class Row:
    """One measurement; the columns are those of the evaluation protocol.

    `n` counts test images, `robust_accuracy` is the accuracy under the attack with its 95 % Wilson interval,
    `clean_accuracy` that of the same defense on the same images without an attack, all in [0, 1]. `artefact` is the
    SHA-256 (first 12 digits) of the weights of the graphs that answered. `seed` draws the attack's random start, and
    the latent noise where there is any. Empty columns do not apply.
    """

    dataset: str
    classifier: str
    defense: str
    attack: str
    norm: str
    eps: float
    knowledge: str
    noise: str
    steps: int
    step_size: float
    restarts: int
    eot: int
    seed: int
    split: str
    n: int
    clean_accuracy: float
    robust_accuracy: float
    ci_low: float
    ci_high: float
    artefact: str
    precision: str
    runtime: str
    device: str
    commit: str

    @property
    def key(self) -> tuple[object, ...]:
        """What was measured on which weights, without what came out."""
        return tuple(value for name, value in asdict(self).items() if name not in _MEASURED)


def read(path: Path) -> list[Row]:
    """All rows; none where the file does not exist.

    Raises:
        EvaluationError: the columns are not those of `Row`, or a value has the wrong type.
    """
    if not path.exists():
        return []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        expected = [field.name for field in fields(Row)]
        if reader.fieldnames != expected:
            raise EvaluationError(f"{path} has columns {reader.fieldnames}; expected {expected}")
        return [_parse(path, line) for line in reader]


def merge(path: Path, rows: Iterable[Row], keep: Callable[[Row], bool] = lambda _: True) -> None:
    """Write rows beside those that are there and that `keep` keeps, replacing those that measured the same thing.

    The file is replaced in one step.
    """
    merged = {row.key: row for row in [*filter(keep, read(path)), *rows]}
    ordered = sorted(merged.values(), key=lambda row: (row.dataset, row.attack, row.eps, row.defense, row.key))
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=[field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in ordered)
    temporary.replace(path)


def select(rows: Iterable[Row], **wanted: object) -> list[Row]:
    """The rows whose columns have the values `wanted`, such as dataset="mnist"."""
    return [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]


def largest(rows: Iterable[Row], **wanted: object) -> Row | None:
    """The row of the most test images of those that `select` finds; None where there is none."""
    return max(select(rows, **wanted), key=lambda row: row.n, default=None)


def _parse(path: Path, line: dict[str, str]) -> Row:
    kinds = {"float": float, "int": int, "str": str}
    try:
        values = {field.name: kinds[str(field.type)](line[field.name]) for field in fields(Row)}
    except ValueError as error:
        raise EvaluationError(f"{path} holds a row with a wrong value ({error}): {line}") from error
    return Row(**values)
