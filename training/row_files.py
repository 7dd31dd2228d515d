"""CSV files with a dataclass's fields for columns. Knows no measurements."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from training.errors import EvaluationError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Kind = TypeVar("Kind", bound=DataclassInstance)

# By the annotation; every other one is text.
_NUMBERS = {"int": int, "float": float}


def read(path: Path, kind: type[Kind]) -> list[Kind]:
    """All rows; none where the file does not exist.

    Raises:
        EvaluationError: the columns are not the fields of `kind`, or a value has the wrong type.
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


def _columns(kind: type[DataclassInstance]) -> list[str]:
    return [field.name for field in fields(kind)]


def _parse(path: Path, line: dict[str, str], kind: type[Kind]) -> Kind:
    try:
        values: dict[str, Any] = {
            field.name: _NUMBERS.get(str(field.type), str)(line[field.name]) for field in fields(kind)
        }
    except (TypeError, ValueError) as error:
        raise EvaluationError(f"{path} holds a row with a wrong value ({error}): {line}") from error
    return kind(**values)
