"""Timings are kept once each, and what is no timing is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.training.rows import LATENCY
from training import latencies
from training.errors import EvaluationError


def test_a_timing_takes_the_place_of_the_one_of_the_same(tmp_path: Path) -> None:
    path = tmp_path / "latency.csv"
    assert latencies.read(path) == []
    other = replace(LATENCY, device="another processor")
    latencies.merge(path, [LATENCY, other])
    again = replace(LATENCY, p50_ms=5.0, n=3, commit="d")
    latencies.merge(path, [again])
    assert sorted(latencies.read(path), key=lambda row: row.device) == [again, other]
    assert latencies.p50_ms(latencies.read(path), device=LATENCY.device) == 5.0
    assert latencies.p50_ms([LATENCY], defense="none") is None


@pytest.mark.parametrize(("old", "new", "fragment"), [("batch", "size", "has columns"), ("2.0", "two", "wrong value")])
def test_what_is_no_timing_is_refused(tmp_path: Path, old: str, new: str, fragment: str) -> None:
    path = tmp_path / "latency.csv"
    latencies.merge(path, [LATENCY])
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(EvaluationError, match=fragment):
        latencies.read(path)
