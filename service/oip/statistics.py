"""Counts of inferences by model, as the protocol's statistics extension tells them. Used from one event loop."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from service.oip.models import VERSION

Stages = dict[str, float]
_COMPUTE = {"compute_input": "decode", "compute_infer": "infer", "compute_output": "encode"}


@dataclass
class _Duration:
    """How often something took place, and how long it took in all."""

    count: int = 0
    ns: int = 0

    def add(self, duration_ms: float) -> None:
        self.count += 1
        self.ns += round(duration_ms * 1e6)

    def told(self) -> dict[str, int]:
        return {"count": self.count, "ns": self.ns}


def _compute() -> dict[str, _Duration]:
    return {name: _Duration() for name in _COMPUTE}


@dataclass
class _Counts:
    """One model's. `inferences` counts images, the durations count requests, by the images of a request."""

    last_ms: int = 0
    inferences: int = 0
    success: _Duration = field(default_factory=_Duration)
    fail: _Duration = field(default_factory=_Duration)
    queue: _Duration = field(default_factory=_Duration)
    compute: dict[str, _Duration] = field(default_factory=_compute)
    by_batch: dict[int, dict[str, _Duration]] = field(default_factory=dict)


class Statistics:
    """Since the start of the process; durations in nanoseconds. `executions`: runs of each model, of one request or
    of several.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.executions: Counter[str] = Counter()
        self._clock = clock
        self._models: dict[str, _Counts] = {}

    def succeeded(self, model: str, batch: int, stages_ms: Stages) -> None:
        """Count a request that was answered, by what the stopwatch read."""
        counts = self._models.setdefault(model, _Counts())
        counts.last_ms = round(self._clock() * 1000)
        counts.inferences += batch
        counts.success.add(stages_ms["total"])
        counts.queue.add(stages_ms["queue"])
        of_batch = counts.by_batch.setdefault(batch, _compute())
        for name, stage in _COMPUTE.items():
            counts.compute[name].add(stages_ms[stage])
            of_batch[name].add(stages_ms[stage])

    def failed(self, model: str, stages_ms: Stages) -> None:
        """Count a request that was refused."""
        self._models.setdefault(model, _Counts()).fail.add(stages_ms["total"])

    def told(self, models: Iterable[str]) -> dict[str, Any]:
        """The counts of those models, zeros for those that were not asked yet."""
        return {"model_stats": [self._told(model, self._models.get(model) or _Counts()) for model in models]}

    def _told(self, model: str, counts: _Counts) -> dict[str, Any]:
        compute = {name: duration.told() for name, duration in counts.compute.items()}
        return {
            "name": model,
            "version": VERSION,
            "last_inference": counts.last_ms,
            "inference_count": counts.inferences,
            "execution_count": self.executions[model],
            "inference_stats": {
                "success": counts.success.told(),
                "fail": counts.fail.told(),
                "queue": counts.queue.told(),
                **compute,
                # There is no cache, and clients look for the keys.
                "cache_hit": _Duration().told(),
                "cache_miss": _Duration().told(),
            },
            "batch_stats": [
                {"batch_size": batch, **{name: duration.told() for name, duration in durations.items()}}
                for batch, durations in sorted(counts.by_batch.items())
            ],
        }
