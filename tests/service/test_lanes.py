"""A lane runs so much at once, lets so much wait, and refuses the rest at once."""

from __future__ import annotations

from threading import Event, current_thread, main_thread

import anyio
import pytest

from service.errors import AbandonedError, BusyError
from service.lanes import Lane
from service.latency import Stopwatch
from service.leash import Leash


def test_work_leaves_the_event_loops_thread() -> None:
    lane = Lane("test", workers=1, max_waiting=0)
    thread = anyio.run(lane.run, current_thread, Stopwatch())
    assert thread is not main_thread()


def test_a_full_lane_refuses_and_takes_work_again_afterwards() -> None:
    lane = Lane("test", workers=1, max_waiting=1)
    release = Event()
    finished: list[float] = []

    async def occupy() -> None:
        stopwatch = Stopwatch()
        await lane.run(release.wait, stopwatch)
        finished.append(stopwatch.read_ms()["queue"])

    async def scenario() -> str:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(occupy)
            tasks.start_soon(occupy)
            await anyio.sleep(0.02)
            with pytest.raises(BusyError, match="1 test requests are running and 1 are waiting"):
                await lane.run(lambda: "refused", Stopwatch())
            release.set()
        return await lane.run(lambda: "taken", Stopwatch())

    assert anyio.run(scenario) == "taken"
    assert max(finished) >= 15  # the second one waited for the first


def test_a_job_whose_leash_is_cut_gives_up_its_place_and_is_never_run() -> None:
    lane = Lane("test", workers=1, max_waiting=1)
    release, ran = Event(), []

    async def give_up(leash: Leash) -> None:
        with pytest.raises(AbandonedError):
            await lane.run(lambda: ran.append("abandoned"), Stopwatch(), leash)

    async def scenario() -> str:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lane.run, release.wait, Stopwatch())
            for _ in range(3):  # one place is enough for all of them
                await anyio.sleep(0.02)
                leash = Leash()
                tasks.start_soon(give_up, leash)
                await anyio.sleep(0.02)
                assert (lane.running, lane.waiting) == (1, 1)
                leash.cut()
            await anyio.sleep(0.02)
            assert (lane.running, lane.waiting) == (1, 0)
            release.set()
        return await lane.run(lambda: "taken", Stopwatch())

    assert anyio.run(scenario) == "taken"
    assert ran == []


def test_a_job_that_raises_frees_its_place() -> None:
    lane = Lane("test", workers=1, max_waiting=0)

    async def scenario() -> str:
        with pytest.raises(ZeroDivisionError):
            await lane.run(lambda: 1 / 0, Stopwatch())
        return await lane.run(lambda: "taken", Stopwatch())

    assert anyio.run(scenario) == "taken"
