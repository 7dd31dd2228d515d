"""Percentiles are right within the promised error, and old durations leave the last minute."""

from __future__ import annotations

import time

import numpy as np
import pytest

from service.latency import RELATIVE_ERROR, Histogram, LatencyBook, Percentiles, Stopwatch, percentiles


def test_exact_percentiles_are_nearest_ranks() -> None:
    assert percentiles(range(100, 0, -1)) == Percentiles(100, 50, 90, 95, 99)
    assert percentiles([7.0]) == Percentiles(1, 7, 7, 7, 7)
    assert percentiles([1.0, 2.0]) == Percentiles(2, 1, 2, 2, 2)


def test_ranks_are_not_off_by_one_where_the_share_is_not_a_binary_fraction() -> None:
    for count in range(1, 400):
        measured = percentiles(range(1, count + 1))
        ranks = [-(-hundredths * count // 100) for hundredths in (50, 90, 95, 99)]
        assert [measured.p50_ms, measured.p90_ms, measured.p95_ms, measured.p99_ms] == ranks


def test_percentiles_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="0 durations"):
        percentiles([])


def test_a_histogram_agrees_with_exact_percentiles_within_its_error() -> None:
    durations_ms = np.random.default_rng(0).lognormal(1, 2, 5000).tolist()
    histogram = Histogram()
    for duration_ms in durations_ms:
        histogram.add(duration_ms)
    measured, exact = histogram.percentiles(), percentiles(durations_ms)
    assert measured is not None
    assert measured.count == exact.count
    for name in ("p50_ms", "p90_ms", "p95_ms", "p99_ms"):
        assert getattr(measured, name) == pytest.approx(getattr(exact, name), rel=RELATIVE_ERROR * 1.001)


@pytest.mark.parametrize("duration_ms", [0.0, -1.0, 1e-9, 1e12, float("inf")])
def test_extreme_durations_are_counted_at_the_ends(duration_ms: float) -> None:
    histogram = Histogram()
    histogram.add(duration_ms)
    measured = histogram.percentiles()
    assert measured is not None
    assert measured.count == 1


def test_an_empty_histogram_has_no_percentiles() -> None:
    assert Histogram().percentiles() is None


def test_a_duration_leaves_the_last_minute_but_not_the_whole() -> None:
    now_s = 1000.0
    book = LatencyBook(clock=lambda: now_s)
    book.record("GET /", {"total": 10.0})
    now_s += 50
    book.record("GET /", {"total": 1000.0})
    (reading,) = book.readings()
    assert reading.last_minute is not None
    assert reading.last_minute.count == 2
    now_s += 20
    (reading,) = book.readings()
    assert reading.last_minute is not None
    assert reading.last_minute.count == 1
    assert reading.last_minute.p50_ms == pytest.approx(1000, rel=0.01)
    now_s += 60
    (reading,) = book.readings()
    assert reading.last_minute is None
    assert reading.since_start is not None
    assert reading.since_start.count == 2


def test_endpoints_and_stages_are_kept_apart() -> None:
    book = LatencyBook()
    book.record("a", {"decode": 1.0, "total": 2.0})
    book.record("b", {"total": 3.0})
    assert [(reading.endpoint, reading.stage) for reading in book.readings()] == [
        ("a", "decode"),
        ("a", "total"),
        ("b", "total"),
    ]


def test_a_stopwatch_sums_a_stage_and_counts_one_that_raises() -> None:
    stopwatch = Stopwatch()
    stopwatch.add("decode", 5.0)

    def fail() -> None:
        with stopwatch.stage("decode"):
            time.sleep(0.002)
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fail()
    durations_ms = stopwatch.read_ms()
    assert durations_ms["decode"] >= 7
    assert durations_ms["total"] >= 2
