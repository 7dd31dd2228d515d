"""Stopwatch and percentiles, per endpoint and stage, since the start and over the last minute. Knows no HTTP.

Memory is bounded whatever the traffic: a histogram counts durations in buckets whose borders grow by 2 %, so
that a percentile is off by at most 1 % of its value, and the last minute is a ring of twelve histograms of five
seconds each.
"""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

import numpy as np

GROWTH = 1.02
RELATIVE_ERROR = GROWTH**0.5 - 1
WINDOW_S = 60.0
_SLICES = 12
_SHORTEST_MS, _LONGEST_MS = 1e-3, 1e7
TOTAL = "total"


@dataclass(frozen=True)
class Percentiles:
    """Durations in milliseconds: `count` of them, the value that 50 (90, 95, 99) per cent do not exceed."""

    count: int
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float


def percentiles(durations_ms: Iterable[float]) -> Percentiles:
    """Exact percentiles by nearest rank, thus values that were measured.

    Raises:
        ValueError: there are no durations.
    """
    ordered = sorted(durations_ms)
    if not ordered:
        raise ValueError("0 durations were given; allowed: 1 or more")
    p50, p90, p95, p99 = (ordered[_rank(len(ordered), share) - 1] for share in (0.50, 0.90, 0.95, 0.99))
    return Percentiles(len(ordered), p50, p90, p95, p99)


def _rank(count: int, share: float) -> int:
    """Nearest rank, from 1: the smallest one that at least this share of the values does not exceed."""
    return max(1, math.ceil(share * count))


class Histogram:
    """Counts durations in buckets that grow by `GROWTH`; its percentiles are within `RELATIVE_ERROR`."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()

    def add(self, duration_ms: float) -> None:
        """Count one duration; those outside 1 microsecond to 3 hours count as the nearest end."""
        held = min(max(duration_ms, _SHORTEST_MS), _LONGEST_MS)
        self._buckets[math.floor(math.log(held / _SHORTEST_MS, GROWTH))] += 1

    def merge(self, other: Histogram) -> None:
        """Add another histogram's counts to this one's."""
        self._buckets.update(other._buckets)

    def percentiles(self) -> Percentiles | None:
        """By nearest rank, each the geometric middle of its bucket; None while nothing was counted."""
        if not self._buckets:
            return None
        buckets = np.array(sorted(self._buckets))
        running = np.cumsum([self._buckets[bucket] for bucket in buckets.tolist()])
        count = int(running[-1])
        ranks = [_rank(count, share) for share in (0.50, 0.90, 0.95, 0.99)]
        chosen = buckets[np.searchsorted(running, ranks)]
        p50, p90, p95, p99 = (float(value) for value in _SHORTEST_MS * GROWTH ** (chosen + 0.5))
        return Percentiles(count, p50, p90, p95, p99)


class _Series:
    """One stage of one endpoint: a histogram since the start, and a ring of slices for the last minute."""

    def __init__(self) -> None:
        self.since_start = Histogram()
        self._slices: deque[tuple[int, Histogram]] = deque(maxlen=_SLICES)

    def add(self, duration_ms: float, now_s: float) -> None:
        slice_number = _slice_number(now_s)
        if not self._slices or self._slices[-1][0] != slice_number:
            self._slices.append((slice_number, Histogram()))
        self._slices[-1][1].add(duration_ms)
        self.since_start.add(duration_ms)

    def last_minute(self, now_s: float) -> Histogram:
        merged = Histogram()
        for number, histogram in self._slices:
            if number > _slice_number(now_s) - _SLICES:
                merged.merge(histogram)
        return merged


def _slice_number(now_s: float) -> int:
    return int(now_s * _SLICES / WINDOW_S)


@dataclass(frozen=True)
class Reading:
    """What the book knows of one stage of one endpoint; a part is None while nothing was recorded in it."""

    endpoint: str
    stage: str
    since_start: Percentiles | None
    last_minute: Percentiles | None


class LatencyBook:
    """All series of the process. Thread-safe.

    Endpoints and stages must come from the code, not from requests: each pair is kept for ever.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._series: defaultdict[tuple[str, str], _Series] = defaultdict(_Series)
        self._lock = Lock()

    def record(self, endpoint: str, durations_ms: dict[str, float]) -> None:
        """Add the durations of one request, stage by stage."""
        now_s = self._clock()
        with self._lock:
            for stage, duration_ms in durations_ms.items():
                self._series[endpoint, stage].add(duration_ms, now_s)

    def readings(self) -> list[Reading]:
        """One reading per endpoint and stage, in the order of their first request."""
        now_s = self._clock()
        with self._lock:
            return [
                Reading(endpoint, stage, series.since_start.percentiles(), series.last_minute(now_s).percentiles())
                for (endpoint, stage), series in self._series.items()
            ]


class Stopwatch:
    """Times the stages of one request; starts when it is made.

    A stage that is entered twice counts the sum. Used by one thread at a time.
    """

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as a stage, also where it raises."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, (time.perf_counter() - began) * 1000)

    def add(self, name: str, duration_ms: float) -> None:
        """Add to a stage what was timed elsewhere."""
        self._stages[name] = self._stages.get(name, 0.0) + duration_ms

    def add_stages(self, other: Stopwatch) -> None:
        """Add to each stage what another stopwatch timed of it."""
        for name, duration_ms in other._stages.items():
            self.add(name, duration_ms)

    def read_ms(self) -> dict[str, float]:
        """Milliseconds of each stage so far, and `total` since the stopwatch was made."""
        return {**self._stages, TOTAL: (time.perf_counter() - self._started) * 1000}
