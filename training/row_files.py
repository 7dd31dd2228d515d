"""CSV files with a dataclass's fields for columns. Knows no measurements."""

from __future__ import annotations

import csv
import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from training.errors import EvaluationError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Kind = TypeVar("Kind", bound=DataclassInstance)


def read(path: Path, kind: type[Kind]) -> list[Kind]:
    """All rows; none where the file does not exist. What is annotated as neither int nor float is text.

    Raises:
        EvaluationError: the columns are not the fields of `kind`, or a row is cut or has a value of the wrong type.
    """
    if not path.exists():
        return []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        expected = _columns(kind)
        if reader.fieldnames != expected:
            raise EvaluationError(f"{path} has columns {reader.fieldnames}; expected {expected}")
        return [_parse(path, line, kind) for line in reader]


def write(path: Path, rows: Iterable[Kind], kind: type[Kind]) -> None:
    """Put rows in the place of all that the file holds, in one step."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=_columns(kind), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    temporary.replace(path)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """While no other process writes rows to a folder; waits for one that does."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # which ends the lock


def _columns(kind: type[DataclassInstance]) -> list[str]:
    return [field.name for field in fields(kind)]


def _parse(path: Path, line: dict[str, str], kind: type[Kind]) -> Kind:
    if None in line or None in line.values():
        raise EvaluationError(f"{path} holds a row of another length than its header's: {line}")
    numbers = {name: hint for name, hint in get_type_hints(kind).items() if hint in (int, float)}
    try:
        values: dict[str, Any] = {name: numbers.get(name, str)(value) for name, value in line.items()}
    except ValueError as error:
        raise EvaluationError(f"{path} holds a row with a wrong value ({error}): {line}") from error
    return kind(**values)
