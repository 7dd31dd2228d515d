"""models/confusions.csv: for each row of results.csv, how often each class was called each."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from training.errors import EvaluationError
from training.results import Row

FILE_NAME = "confusions.csv"
CLASSES = 10
_IDENTITY = ("dataset", "defense", "attack", "eps", "knowledge", "noise", "steps", "eot", "seed", "n", "artefact")
_COLUMNS = (*_IDENTITY, "counts")

Identity = tuple[str, ...]
Counts = np.ndarray[Any, np.dtype[np.int64]]


def identity(row: Row) -> Identity:
    """What tells a row's counts from another's."""
    return tuple(str(getattr(row, name)) for name in _IDENTITY)


def count(labels: np.ndarray[Any, Any], predictions: np.ndarray[Any, Any]) -> Counts:
    """Counts (10, 10): how many images of class i were called j."""
    counts = np.zeros((CLASSES, CLASSES), np.int64)
    np.add.at(counts, (labels, predictions), 1)
    return counts


def read(path: Path) -> dict[Identity, Counts]:
    """All counts; none where the file does not exist.

    Raises:
        EvaluationError: the columns are wrong, or the counts are not 100 numbers.
    """
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != _COLUMNS:
            raise EvaluationError(f"{path} has columns {reader.fieldnames}; expected {list(_COLUMNS)}")
        return {tuple(line[name] for name in _IDENTITY): _parse(path, line["counts"]) for line in reader}


def write(path: Path, entries: Mapping[Identity, Counts], rows: Iterable[Row]) -> None:
    """Write the entries that belong to one of `rows`, in the order of the rows; replaced in one step."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for name in map(identity, rows):
            if name in entries:
                writer.writerow([*name, " ".join(map(str, entries[name].flatten()))])
    temporary.replace(path)


def _parse(path: Path, text: str) -> Counts:
    try:
        return np.array([int(word) for word in text.split()], np.int64).reshape(CLASSES, CLASSES)
    except ValueError as error:
        raise EvaluationError(f"{path} holds counts that are not {CLASSES * CLASSES} numbers: {text!r}") from error
