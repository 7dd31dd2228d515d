"""Calls are timed in turns, as often as asked or as time allows."""

from __future__ import annotations

import pytest

from training.alternating import alternate


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, which moves only where a call moves it."""
    now = [0.0]
    monkeypatch.setattr("training.alternating.time.perf_counter", lambda: now[0])
    return now


def test_calls_are_timed_in_turns_and_the_first_of_each_block_are_not_counted(clock: list[float]) -> None:
    asked: list[str] = []

    def take(name: str, seconds: float) -> None:
        asked.append(name)
        clock[0] += seconds if asked.count(name) > 1 else 10 * seconds

    calls = {"quick": lambda: take("quick", 0.016), "slow": lambda: take("slow", 0.1)}
    found = alternate(calls, repeats=10, budget_s=1000)
    assert {name: [round(ms, 6) for ms in times] for name, times in found.items()} == {
        "quick": [16.0] * 10,
        "slow": [100.0] * 10,
    }
    # Until 50 ms are over, and at least one, before the two that count.
    assert asked[:11] == ["quick", "slow", *["quick"] * (4 + 2), *["slow"] * (1 + 2)]
    assert len(asked) == 2 + 5 * (6 + 3)


@pytest.mark.parametrize(("seconds", "count"), [(1.0, 10), (3.0, 3), (9.0, 1), (60.0, 1)])
def test_the_budget_bounds_how_often_a_slow_one_is_called(clock: list[float], seconds: float, count: int) -> None:
    """One that takes more than all of it is called once."""
    asked: list[None] = []

    def take() -> None:
        asked.append(None)
        clock[0] += seconds

    assert alternate({"slow": take}, repeats=10, budget_s=10) == {"slow": [1000 * seconds] * count}
    assert (len(asked) == 1) == (seconds > 10)
