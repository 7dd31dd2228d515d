"""What was written is read again, and what was not is refused with the file's name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import pytest

from training import row_files
from training.errors import EvaluationError


@dataclass(frozen=True)
class _Point:
    name: str
    n: int
    share: float


def test_one_writes_at_a_time(tmp_path: Path) -> None:
    entered = Event()

    def enter() -> None:
        with row_files.alone(tmp_path):
            entered.set()

    other = Thread(target=enter)
    with row_files.alone(tmp_path):
        other.start()
        assert not entered.wait(0.1)
    other.join()
    assert entered.is_set()


def test_rows_come_back_with_their_types_and_replace_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    assert row_files.read(path, _Point) == []
    row_files.write(path, [_Point("gone", 1, 0.5)], _Point)
    kept = [_Point("a, b", 2, 0.25), _Point("", 0, 1e-9)]
    row_files.write(path, kept, _Point)
    assert row_files.read(path, _Point) == kept
    assert [file.name for file in tmp_path.iterdir()] == ["points.csv"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name,n\nx,1\n", r"points.csv has columns \['name', 'n'\]; expected \['name', 'n', 'share'\]"),
        ("name,n,share\nx,1\n", "points.csv holds a row of another length"),
        ("name,n,share\nx,1,0.5,more\n", "points.csv holds a row of another length"),
        ("name,n,share\nx,one,0.5\n", "points.csv holds a row with a wrong value .*'one'"),
        ("name,n,share\nx,1,half\n", "points.csv holds a row with a wrong value .*'half'"),
    ],
)
def test_what_is_no_table_of_that_kind_is_refused(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text(text)
    with pytest.raises(EvaluationError, match=sentence):
        row_files.read(path, _Point)
