"""A lane runs so much at once, lets so much wait, and refuses the rest at once."""

from __future__ import annotations

from threading import Event, current_thread, main_thread

import anyio
import pytest

from service.errors import BusyError
from service.lanes import Lane
from service.latency import Stopwatch


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


def test_a_job_that_raises_frees_its_place() -> None:
    lane = Lane("test", workers=1, max_waiting=0)

    async def scenario() -> str:
        with pytest.raises(ZeroDivisionError):
            await lane.run(lambda: 1 / 0, Stopwatch())
        return await lane.run(lambda: "taken", Stopwatch())

    assert anyio.run(scenario) == "taken"
