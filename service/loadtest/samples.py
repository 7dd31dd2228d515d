"""What is kept of each request, and what a stage's requests say together. Knows no HTTP client and no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.latency import TOTAL, percentiles

SHED = frozenset({429, 503})
_ENOUGH_FOR_P999 = 10_000


@dataclass(frozen=True)
class Sample:
    """One request. `due_s` is when it was to be sent, in seconds from the start of its stage.

    `latency_ms` runs from `due_s`, `service_ms` from the real sending: a generator that is late does not hide it.
    `status` is 0 where no answer came; `failure` then says why. `stages_ms` are the server's own timings.
    """

    due_s: float
    latency_ms: float
    service_ms: float
    status: int
    failure: str = ""
    stages_ms: Mapping[str, float] | None = None

    @property
    def answered(self) -> bool:
        """Whether the answer is a result, rather than an error or nothing."""
        return 200 <= self.status < 300


Send = Callable[[float, float], Awaitable[Sample]]
"""Sends one request: `due_s` for the record, and when that is on `time.perf_counter`."""


@dataclass(frozen=True)
class Stage:
    """The requests of `seconds` under one load: so many `users` in a closed loop, or `rate` a second in an open one."""

    name: str
    seconds: float
    samples: Sequence[Sample]
    users: int | None = None
    rate: float | None = None

    @property
    def achieved_rps(self) -> float:
        """Results a second, until the last of them was there: in an open loop that may be after the stage's end."""
        ends_s = [sample.due_s + sample.latency_ms / 1000 for sample in self.samples if sample.answered]
        span_s = max([self.seconds, *ends_s])
        return len(ends_s) / span_s if span_s > 0 else 0.0

    def summary(self) -> dict[str, Any]:
        """As a row of the report: rates in requests a second, times in milliseconds, shares in [0, 1].

        Percentiles are those of the results alone; p99.9 takes 10,000 of them. Without any result they are None.
        """
        statuses = Counter(sample.status for sample in self.samples)
        shed = sum(statuses[status] for status in SHED)
        results = sum(sample.answered for sample in self.samples)
        return {
            "name": self.name,
            "users": self.users,
            "seconds": self.seconds,
            "requests": len(self.samples),
            "intended_rps": self.rate,
            "offered_rps": len(self.samples) / self.seconds if self.seconds > 0 else 0.0,
            "achieved_rps": self.achieved_rps,
            "shed": shed,
            "shed_share": shed / len(self.samples) if self.samples else 0.0,
            "failed": len(self.samples) - shed - results,
            "statuses": {str(status): count for status, count in sorted(statuses.items())},
            "failures": dict(Counter(sample.failure for sample in self.samples if sample.failure)),
            **self._latencies(),
            "stages_p50_ms": self._split(),
        }

    def _latencies(self) -> dict[str, float | None]:
        latencies = [sample.latency_ms for sample in self.samples if sample.answered]
        names = ("p50_ms", "p90_ms", "p95_ms", "p99_ms")
        if not latencies:
            return dict.fromkeys((*names, "p999_ms"))
        measured = percentiles(latencies)
        enough = len(latencies) >= _ENOUGH_FOR_P999
        tail = float(np.quantile(latencies, 0.999, method="inverted_cdf")) if enough else None
        return {**{name: getattr(measured, name) for name in names}, "p999_ms": tail}

    def _split(self) -> dict[str, float]:
        """Medians of the server's stages, of what it spent besides (`rest`), and of what was spent outside of it."""
        parts: dict[str, list[float]] = {}
        for sample in self.samples:
            if not (sample.answered and sample.stages_ms and TOTAL in sample.stages_ms):
                continue
            stages = {name: value for name, value in sample.stages_ms.items() if name != TOTAL}
            total = sample.stages_ms[TOTAL]
            for name, value in {
                **stages,
                "rest": max(0.0, total - sum(stages.values())),
                "outside": max(0.0, sample.service_ms - total),
            }.items():
                parts.setdefault(name, []).append(value)
        return {name: float(np.median(values)) for name, values in parts.items()}
