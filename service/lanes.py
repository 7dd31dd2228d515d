"""Lanes: how much work of a kind runs at once, off the event loop, and how much may wait. Knows no HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from service.errors import BusyError
from service.latency import Stopwatch
from service.leash import Leash

_T = TypeVar("_T")


class Lane:
    """A bounded queue in front of a few worker threads. Used from one event loop.

    Long work (attacks) gets a lane of its own, so that it cannot hold up the short.
    """

    def __init__(self, name: str, *, workers: int, max_waiting: int) -> None:
        self.name = name
        self._workers = workers
        self._max_waiting = max_waiting
        self._admitted = 0
        self._limiter = anyio.CapacityLimiter(workers)

    @property
    def running(self) -> int:
        """Jobs that have a thread."""
        return self._limiter.borrowed_tokens

    @property
    def waiting(self) -> int:
        """Jobs that wait for one."""
        return self._admitted - self.running

    async def run(self, job: Callable[[], _T], stopwatch: Stopwatch, leash: Leash | None = None) -> _T:
        """The job's result, computed in a thread; the wait for a free one is timed as stage `queue`.

        Where the leash is cut a job that waits gives up its place, and one that runs ends.

        Raises:
            BusyError: as many jobs as allowed wait already.
            ServiceError: the leash was cut, or its time is over.
        """
        leash = leash or Leash()
        if self._admitted >= self._workers + self._max_waiting:
            raise BusyError(
                f"{self._workers} {self.name} requests are running and {self._max_waiting} are waiting, which "
                "is all that is allowed; try again later"
            )
        self._admitted += 1
        asked = time.perf_counter()

        def timed() -> _T:
            stopwatch.add("queue", (time.perf_counter() - asked) * 1000)
            with leash.holding():
                return job()

        try:
            with anyio.CancelScope() as waiting:
                leash.when_cut(waiting.cancel)
                return await anyio.to_thread.run_sync(timed, limiter=self._limiter)
        finally:
            self._admitted -= 1
        leash.feel()
        raise AssertionError("only a cut leash ends the wait")
