"""What a soak has seen, and what of it must not be. Knows no HTTP client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from service.loadtest.samples import SHED

MOST_GROWTH = 0.05
_FEWEST = 3
_OK = 200


@dataclass
class Tally:
    """Counts by what was asked and what came.

    `memory` holds the target's resident bytes, by the second since the beginning; `held_s` for how long each slow
    client was put up with. `left` of `users` were told to leave after SIGTERM, and `ended_s` later it had ended.
    """

    warm_up_s: float
    answered: int = 0
    shed: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    hostile: Counter[str] = field(default_factory=Counter)
    unexpected: Counter[str] = field(default_factory=Counter)
    memory: list[tuple[float, float]] = field(default_factory=list)
    held_s: list[float] = field(default_factory=list)
    users: int = 0
    left: int = 0
    ended_s: float | None = None
    load: Mapping[str, Any] = field(default_factory=dict)

    def add(self, asked: str, status: int, headers: Mapping[str, str], *, right: bool) -> None:
        """Count a legitimate request's answer; `right`: it is the known one."""
        if is_shed(status, headers):
            self.shed += 1
        elif status != _OK:
            self.failed[f"{asked}: {status}"] += 1
        elif right:
            self.answered += 1
        else:
            self.wrong[asked] += 1

    def add_hostile(self, name: str, status: int, allowed: frozenset[int], headers: Mapping[str, str]) -> None:
        """Count a hostile request's answer; 0 where there was none."""
        self.hostile[f"{name}: {status or 'no answer'}"] += 1
        if allowed and status not in allowed and not is_shed(status, headers):
            self.unexpected[f"{name}: {status or 'no answer'}"] += 1

    @property
    def growth(self) -> float | None:
        """By what share the memory grew from the first tenth after the warm-up to the last, medians of both."""
        steady = [held for second, held in self.memory if second >= self.warm_up_s]
        tenth = max(_FEWEST, len(steady) // 10)
        if len(steady) < 2 * tenth:
            return None
        return median(steady[-tenth:]) / median(steady[:tenth]) - 1

    def faults(self) -> list[str]:
        """What must not be, in sentences; none where the soak passed."""
        told = [
            f"{sum(counts.values())} {what}: {_listed(counts)}"
            for what, counts in (
                ("answers were not the known ones", self.wrong),
                ("requests failed", self.failed),
                ("hostile requests got what they should not", self.unexpected),
            )
            if counts
        ]
        if not self.answered:
            told.append("no request was answered")
        if self.growth is None:
            told.append("the memory was not told often enough by /metrics to judge it")
        elif self.growth > MOST_GROWTH:
            told.append(f"the memory grew by {self.growth:.1%}; allowed: {MOST_GROWTH:.0%}")
        if self.users and (self.left < self.users or self.ended_s is None):
            told.append(f"after SIGTERM {self.left} of {self.users} users were told to leave; ended: {self.ended_s}")
        return told

    def sentences(self) -> list[str]:
        """All of it for a terminal, the verdict last."""
        mebibytes = [held / 2**20 for _, held in self.memory] or [0.0]
        told = [
            f"Answered as known: {self.answered}, shed with Retry-After: {self.shed}, other: "
            f"{self.failed.total() + self.wrong.total()}.",
            f"Hostile: {_listed(self.hostile) or 'none'}.",
            f"Slow clients: {len(self.held_s)} closed, after at most {max(self.held_s, default=0):.1f} s.",
            f"Memory: {min(mebibytes):.0f} to {max(mebibytes):.0f} MiB; growth after the warm-up: "
            + ("not judged." if self.growth is None else f"{self.growth:.2%}."),
        ]
        if self.users:
            told.append(
                f"SIGTERM: {self.left} of {self.users} users were told to leave; it ended {self.ended_s} s later."
            )
        faults: Sequence[str] = self.faults()
        return [*told, *(f"FAILED: {fault}." for fault in faults)] if faults else [*told, "PASSED."]

    def as_json(self) -> dict[str, Any]:
        """The same for a program."""
        return {
            "passed": not self.faults(),
            "faults": self.faults(),
            "answered": self.answered,
            "shed": self.shed,
            "load": dict(self.load),
            "hostile": dict(self.hostile),
            "slow_clients_held_s": max(self.held_s, default=None),
            "memory_growth": self.growth,
            "memory_mib": [round(held / 2**20, 1) for _, held in self.memory],
            "left_after_sigterm": self.left,
            "ended_s": self.ended_s,
        }


def is_shed(status: int, headers: Mapping[str, str]) -> bool:
    """Whether an answer turns a request away as it should: it says when to come back."""
    return status in SHED and "retry-after" in {name.lower() for name in headers}


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} × {name}" for name, count in sorted(counts.items()))
