"""Closed loop: users who wait for their answers. Open loop: arrivals that wait for nobody. Knows no HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from service.loadtest.samples import Sample, Send, Stage


@dataclass
class Stop:
    """Asks the loops to send no more; what is in flight is still waited for."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def sleep(self, seconds: float) -> None:
        """Sleep so long, or until asked to stop."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        try:
            await asyncio.wait_for(self.asked.wait(), seconds)
        except TimeoutError:
            return


async def closed_loop(send: Send, users: int, seconds: float, stop: Stop, name: str | None = None) -> Stage:
    """Users who each send the next request when the last one is answered, for so many seconds."""
    samples: list[Sample] = []
    began = time.perf_counter()

    async def user() -> None:
        while not stop.asked.is_set() and (now := time.perf_counter()) < began + seconds:
            sample = await send(now - began, now)
            samples.append(sample)
            if not sample.answered:
                # A refusal costs the server almost nothing: users who ask again at once would measure only those.
                await asyncio.sleep(0.01)

    await asyncio.gather(*(user() for _ in range(users)))
    return Stage(name or f"{users} user{'s' if users > 1 else ''}", time.perf_counter() - began, samples, users=users)


async def open_loop(
    send: Send, phases: Sequence[tuple[str, float, float]], stop: Stop, *, seed: int = 0
) -> list[Stage]:
    """Poisson arrivals in phases (name, requests a second, seconds) that follow each other without a pause.

    Latencies run from the arrival's intended time (thus without coordinated omission). A stage holds the requests
    that were due in its phase, whenever they were answered; `due_s` counts from the phase's beginning.
    """
    generator = np.random.default_rng(seed)
    began = time.perf_counter()
    stages = []
    pending: set[asyncio.Task[None]] = set()
    for name, rate, seconds in phases:
        samples: list[Sample] = []

        async def arrive(due_s: float, due: float, kept: list[Sample] = samples) -> None:
            kept.append(await send(due_s, due))

        for due_s in _arrivals(generator, rate, seconds):
            await _until(began + due_s, stop)
            if stop.asked.is_set():
                break
            task = asyncio.create_task(arrive(due_s, began + due_s))
            pending.add(task)
            task.add_done_callback(pending.discard)
        await _until(began + seconds, stop)
        held = min(seconds, time.perf_counter() - began)
        stages.append(Stage(name, held, samples, rate=rate))
        if stop.asked.is_set():
            break
        began += seconds
    await asyncio.gather(*pending)
    return stages


def _arrivals(generator: np.random.Generator, rate: float, seconds: float) -> list[float]:
    """Seconds from the start, in order: a Poisson number of them, uniformly spread, which is a Poisson process."""
    times: list[float] = np.sort(generator.uniform(0, seconds, generator.poisson(rate * seconds))).tolist()
    return times


async def _until(moment: float, stop: Stop) -> None:
    left = moment - time.perf_counter()
    if left > 0:
        await stop.sleep(left)
