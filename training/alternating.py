"""Times calls beside each other: in rounds, so that what slows the machine for a while slows all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)
Call = Callable[[], object]
_ROUNDS = 5
# torch's threads look for work for some 20 ms after a call.
_WARM_UP_S = 0.05


def alternate(calls: Mapping[Key, Call], *, repeats: int, budget_s: float) -> dict[Key, list[float]]:
    """Milliseconds of `repeats` calls each, or of as many as the budget for one of them allows.

    A first call of each warms it and is not counted, unless it alone takes the budget; nor are the first calls of a
    block of two or more, which find another's weights in the cache, and on the processors another library's threads,
    which look for work for a while.
    """
    durations: dict[Key, list[float]] = {}
    wanted: dict[Key, int] = {}
    for key, call in calls.items():
        first_ms = _timed(call)
        affordable = int(1000 * budget_s / first_ms)
        durations[key] = [] if affordable else [first_ms]
        wanted[key] = max(1, min(repeats, affordable))
    for number in range(1, _ROUNDS + 1):
        for key, call in calls.items():
            due = wanted[key] * number // _ROUNDS - len(durations[key])
            ready = time.perf_counter() + _WARM_UP_S
            while due > 1 and time.perf_counter() < ready:
                call()
            durations[key] += [_timed(call) for _ in range(due)]
    return durations


def _timed(call: Call) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000
