from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.training.rows import ROW
from training import results
from training.errors import EvaluationError
from training.metrics import wilson_interval


def test_rows_survive_the_file_and_a_new_measurement_replaces_the_old(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    other = replace(ROW, eps=0.3)
    results.merge(path, [ROW, other])
    newer = replace(ROW, robust_accuracy=0.5, commit="d")
    results.merge(path, [newer])
    assert sorted(results.read(path), key=lambda row: row.eps) == [other, newer]


def test_a_file_with_other_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(EvaluationError, match="has columns"):
        results.read(path)


def test_a_row_with_a_wrong_value_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    results.merge(path, [ROW])
    path.write_text(path.read_text().replace("10000", "many"))
    with pytest.raises(EvaluationError, match="wrong value"):
        results.read(path)


def test_the_wilson_interval_matches_the_textbook() -> None:
    low, high = wilson_interval(0.5, 100)
    assert (round(low, 4), round(high, 4)) == (0.4038, 0.5962)
    assert wilson_interval(1.0, 100)[1] == 1.0


def test_the_row_of_the_most_images_is_found_by_its_columns() -> None:
    few = replace(ROW, n=100)
    rows = [few, ROW, replace(ROW, eps=0.3)]
    assert results.largest(rows, dataset="mnist", eps=0.6) == ROW
    assert results.select(rows, eps=0.6, n=100) == [few]
    assert results.largest(rows, eps=0.5) is None


def test_rows_that_are_not_to_be_kept_go_when_others_come(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    results.merge(path, [ROW, replace(ROW, dataset="fashion-mnist")])
    results.merge(path, [replace(ROW, eps=0.3)], keep=lambda row: row.dataset == "mnist")
    assert [(row.dataset, row.eps) for row in results.read(path)] == [("mnist", 0.3), ("mnist", 0.6)]
