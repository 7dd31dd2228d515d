"""The loops on a target that is only a function."""

from __future__ import annotations

import asyncio
import time

from service.loadtest.loops import Stop, closed_loop, open_loop
from service.loadtest.samples import Sample


class Target:
    """Answers after `seconds`, and counts how many requests are with it at once."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.at_once = 0
        self.most_at_once = 0

    async def send(self, due_s: float, due: float) -> Sample:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        began = time.perf_counter()
        await asyncio.sleep(self.seconds)
        self.at_once -= 1
        ended = time.perf_counter()
        return Sample(due_s, (ended - due) * 1000, (ended - began) * 1000, 200)


def test_the_users_of_a_closed_loop_wait_for_their_answers() -> None:
    target = Target(0.01)
    stage = asyncio.run(closed_loop(target.send, 3, 0.2, Stop()))
    assert target.most_at_once == 3
    assert len(stage.samples) >= 3
    assert stage.users == 3


def test_the_arrivals_of_an_open_loop_wait_for_nobody() -> None:
    target = Target(0.5)
    (stage,) = asyncio.run(open_loop(target.send, [("load", 200, 0.2)], Stop()))
    assert target.most_at_once == len(stage.samples) > 10
    assert target.at_once == 0


def test_phases_follow_each_other_and_keep_their_own_requests() -> None:
    target = Target(0.3)
    first, second = asyncio.run(open_loop(target.send, [("a", 100, 0.2), ("b", 300, 0.2)], Stop()))
    assert (first.name, second.name) == ("a", "b")
    assert len(second.samples) > len(first.samples) > 0
    assert all(0 <= sample.due_s <= 0.2 for stage in (first, second) for sample in stage.samples)


def test_arrivals_depend_on_the_seed_alone() -> None:
    def times(seed: int) -> list[float]:
        (stage,) = asyncio.run(open_loop(Target(0).send, [("load", 200, 0.2)], Stop(), seed=seed))
        return sorted(sample.due_s for sample in stage.samples)

    assert times(1) == times(1) != times(2)


def test_latency_runs_from_the_intended_time_though_the_generator_was_late() -> None:
    async def late() -> Sample:
        async def blocking(due_s: float, due: float) -> Sample:
            time.sleep(0.05)  # what a busy generator does to itself
            return await Target(0).send(due_s, due)

        (stage,) = await open_loop(blocking, [("load", 200, 0.1)], Stop())
        return max(stage.samples, key=lambda sample: sample.latency_ms)

    worst = asyncio.run(late())
    assert worst.latency_ms > worst.service_ms + 50


def test_a_stop_ends_both_loops_and_waits_for_what_is_in_flight() -> None:
    async def stopped() -> tuple[int, int, int]:
        stop, target = Stop(), Target(0.05)
        asyncio.get_running_loop().call_later(0.1, stop.asked.set)
        closed = await closed_loop(target.send, 2, 60, stop)
        opened = await open_loop(target.send, [("a", 100, 60), ("b", 100, 60)], stop)
        return len(closed.samples), len(opened), target.at_once

    samples, phases, left = asyncio.run(stopped())
    assert samples > 0
    assert phases == 1
    assert left == 0
