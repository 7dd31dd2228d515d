"""The test's course: warm-up, calibration, users one doubling after another, the knee, twice the knee, recovery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from service.loadtest.loops import Stop, closed_loop, open_loop
from service.loadtest.progress import Progress
from service.loadtest.samples import Send, Stage

KNEE_SHARE = 0.95
_IN_A_ROW = 20
_HALF, _TWICE = "half the knee", "twice the knee"
_RECOVERY = "half the knee again"


@dataclass
class Findings:
    """What was measured so far; what the test did not come to is missing."""

    calibration: Stage | None = None
    closed: list[Stage] = field(default_factory=list)
    open: list[Stage] = field(default_factory=list)
    interrupted: bool = False

    @property
    def knee(self) -> Stage | None:
        """The fewest users at which the service gives 95 % of the most results a second that it gave at all."""
        most = max((stage.achieved_rps for stage in self.closed), default=0.0)
        reached = (stage for stage in self.closed if stage.achieved_rps >= KNEE_SHARE * most)
        return min(reached, key=lambda stage: stage.users or 0) if most > 0 else None

    def open_stage(self, name: str) -> Stage | None:
        """The open loop's stage of that name, where the test came to it."""
        return next((stage for stage in self.open if stage.name == name), None)

    @property
    def recovered_s(self) -> float | None:
        """Seconds from the end of the overload to the first of 20 arrivals in a row that are answered as before.

        As before: no slower than the slowest at half the knee before the overload. None: never, or not measured.
        """
        before, after = self.open_stage(_HALF), self.open_stage(_RECOVERY)
        if before is None or after is None:
            return None
        slowest = max((sample.latency_ms for sample in before.samples if sample.answered), default=0.0)
        run: list[float] = []
        for sample in sorted(after.samples, key=lambda sample: sample.due_s):
            run = [*run, sample.due_s] if sample.answered and sample.latency_ms <= slowest else []
            if len(run) == _IN_A_ROW:
                return run[0]
        return None

    def as_json(self) -> dict[str, Any]:
        """Every stage's summary, the knee and the recovery."""
        knee, half = self.knee, self.open_stage(_HALF)
        return {
            "interrupted": self.interrupted,
            "calibration": self.calibration and self.calibration.summary(),
            "closed": [stage.summary() for stage in self.closed],
            "open": [stage.summary() for stage in self.open],
            "knee": knee and {"users": knee.users, "rps": knee.achieved_rps},
            "p99_at_half_knee_ms": half and half.summary()["p99_ms"],
            "recovered_s": self.recovered_s,
        }


@dataclass(frozen=True)
class Plan:
    """Which stages, and how long each. Without `rates` the open loop runs at half, one and two times the knee."""

    users: Sequence[int]
    rates: Sequence[float] = ()
    seconds: float = 5.0
    warm_up_s: float = 2.0
    calibration_s: float = 1.0
    overload: bool = True
    seed: int = 0

    @property
    def total_s(self) -> float:
        """Seconds that the whole of it takes."""
        stages = len(self.users) + len(self.rates) + (4 if self.overload and self.users else 0)
        return self.warm_up_s + self.calibration_s + stages * self.seconds

    async def run(self, send: Send, no_op: Send, found: Findings, stop: Stop, progress: Progress) -> None:
        """Fill `found` stage by stage; asked to stop, end with what is there."""
        async with progress.stage("warm-up", self.warm_up_s):
            await closed_loop(send, 4, self.warm_up_s, stop)
        async with progress.stage("calibration on a no-op route", self.calibration_s):
            found.calibration = await closed_loop(no_op, max(self.users, default=16), self.calibration_s, stop)
        for users in self.users:
            if not stop.asked.is_set():
                async with progress.stage(f"closed loop, users: {users}", self.seconds):
                    found.closed.append(await closed_loop(send, users, self.seconds, stop))
        phases = self._phases(found)
        if phases and not stop.asked.is_set():
            async with progress.stage("open loop", len(phases) * self.seconds):
                found.open += await open_loop(send, phases, stop, seed=self.seed)
        found.interrupted = stop.asked.is_set()

    def _phases(self, found: Findings) -> list[tuple[str, float, float]]:
        given = [(f"{rate:g} a second", rate, self.seconds) for rate in self.rates]
        knee = found.knee
        if knee is None or not self.overload:
            return given
        parts = ((_HALF, 0.5), ("the knee", 1.0), (_TWICE, 2.0), (_RECOVERY, 0.5))
        return given + [(name, factor * knee.achieved_rps, self.seconds) for name, factor in parts]
