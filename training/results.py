"""models/results.csv: one row a measurement. Tables, figures and the README are made from the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from training import row_files

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
    return row_files.read(path, Row)


def merge(path: Path, rows: Iterable[Row], keep: Callable[[Row], bool] = lambda _: True) -> None:
    """Write rows beside those that are there and that `keep` keeps, replacing those that measured the same thing.

    The file is replaced in one step.
    """
    merged = {row.key: row for row in [*filter(keep, read(path)), *rows]}
    ordered = sorted(merged.values(), key=lambda row: (row.dataset, row.attack, row.eps, row.defense, row.key))
    row_files.write(path, ordered, Row)


def select(rows: Iterable[Row], **wanted: object) -> list[Row]:
    """The rows whose columns have the values `wanted`, such as dataset="mnist"."""
    return [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]


def worst(rows: Iterable[Row], **wanted: object) -> Row | None:
    """The worst case of the most attacks, and of the most images of those, among what `select` finds.

    One of fewer attacks, as of another protocol, is the weaker figure, however many images it stands on.
    """
    return max(select(rows, attack="worst_case", **wanted), key=lambda row: (row.restarts, row.n), default=None)


def largest(rows: Iterable[Row], **wanted: object) -> Row | None:
    """The row of the most test images of those that `select` finds; None where there is none."""
    return max(select(rows, **wanted), key=lambda row: row.n, default=None)
