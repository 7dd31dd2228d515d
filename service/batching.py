"""Micro-batching: what waits is computed together, off the event loop. Knows no HTTP and no models.

Triton's rule: nothing waits for company. While the one worker thread is free a question starts at once; when it comes
free it takes all that waits and goes together, up to the largest batch. One thread and not several, since a session
fills the processors (or its one stream of a GPU) by itself.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, Protocol, TypeVar

from service.errors import SHUTTING_DOWN, AbandonedError, BusyError, NotReadyError, TimeLimitError
from service.latency import Stopwatch

_LOGGER = logging.getLogger(__name__)
_PAUSE_S = 0.5
_Key = TypeVar("_Key", bound=Hashable)
_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")
Compute = Callable[[_Key, Sequence[_Item], Stopwatch], Sequence[_Answer]]


class Interruptible(AbstractContextManager[None], Protocol):
    """Entered by the thread that computes."""

    def interrupt(self) -> None:
        """End what it computes; called from the event loop."""


@dataclass(eq=False)
class Ticket(Generic[_Key, _Item, _Answer]):
    """A question in the queue, of `size` images. Made and used on the event loop; once its answer is settled it is
    never computed.
    """

    key: _Key
    item: _Item
    size: int
    stopwatch: Stopwatch
    answer: asyncio.Future[_Answer]
    asked: float = field(default_factory=time.perf_counter)

    def abandon(self) -> None:
        """Nobody waits any more."""
        self.fail(AbandonedError("the client hung up before its request was computed"))

    def fail(self, error: Exception) -> None:
        """Settle it with an error, where it is not settled yet."""
        if not self.answer.done():
            self.answer.set_exception(error)


@dataclass
class BatchCounts:
    """What happened since the start: batches by number of images, and the questions that were given up."""

    sizes: Counter[int] = field(default_factory=Counter)
    shed: int = 0
    expired: int = 0
    abandoned: int = 0
    restarts: int = 0


class Batcher(Generic[_Key, _Item, _Answer]):
    """A bounded queue in front of one worker thread. Used from one event loop, on which `serve` must run.

    Args:
        compute: called in the thread with a key, items of that key and a stopwatch for its stages; one answer per
            item, in their order. Its errors are the answers of that batch.
        largest: images in a batch; a question of more is computed alone, since none is taken apart.
        max_waiting: questions that may wait.
        timeout_s: from the question to its answer.
        interruption: makes what ends a batch once nobody waits for it; without it a batch is computed to its end.
    """

    def __init__(
        self,
        compute: Compute[_Key, _Item, _Answer],
        *,
        largest: int,
        max_waiting: int,
        timeout_s: float,
        interruption: Callable[[], Interruptible] | None = None,
    ) -> None:
        self.counts = BatchCounts()
        self.failure: str | None = None
        self._compute = compute
        self._largest = largest
        self._max_waiting = max_waiting
        self._timeout_s = timeout_s
        self._interruption = interruption
        self._waiting: deque[Ticket[_Key, _Item, _Answer]] = deque()
        self._running: list[Ticket[_Key, _Item, _Answer]] = []
        self._began = math.inf
        self._arrived = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Questions in the queue that somebody waits for."""
        return sum(not ticket.answer.done() for ticket in self._waiting)

    @property
    def running(self) -> int:
        """Questions that are being computed."""
        return len(self._running)

    @property
    def trouble(self) -> str | None:
        """Why no answers are to be expected at the moment; None where all is well."""
        if time.perf_counter() - self._began > self._timeout_s:
            return f"a batch has been computed for more than {self._timeout_s:g} s; try again in a moment"
        return self.failure

    def enter(self, key: _Key, item: _Item, stopwatch: Stopwatch, size: int = 1) -> Ticket[_Key, _Item, _Answer]:
        """Queue a question of so many images; `answer` waits for it.

        Raises:
            BusyError: as many wait as may.
            NotReadyError: the batcher failed and is being restarted.
        """
        if self.failure is not None:
            raise NotReadyError(self.failure)
        if len(self._waiting) >= self._max_waiting:
            self._forget_settled()
        if len(self._waiting) >= self._max_waiting:
            self.counts.shed += 1
            raise BusyError(f"{self._max_waiting} requests are waiting, which is all that is allowed; try again later")
        ticket = Ticket(key, item, size, stopwatch, asyncio.get_running_loop().create_future())
        self._waiting.append(ticket)
        self._arrived.set()
        return ticket

    async def answer(self, ticket: Ticket[_Key, _Item, _Answer]) -> _Answer:
        """The answer to a queued question; the wait for the worker is timed as stage `queue`.

        Raises:
            TimeLimitError: it is not there in time.
            AbandonedError: the ticket was abandoned.
            NotReadyError: the batcher failed meanwhile.
            Exception: what `compute` raised.
        """
        timer = asyncio.get_running_loop().call_later(self._timeout_s, self._expire, ticket)
        try:
            return await ticket.answer
        except AbandonedError:
            self.counts.abandoned += 1
            raise
        finally:
            timer.cancel()

    async def serve(self) -> None:
        """Compute batch after batch until cancelled. After a fault of its own: fail what waits, and begin anew."""
        try:
            while True:
                self.failure = None
                try:
                    await self._batches()
                except Exception:
                    _LOGGER.exception("the batcher failed and is restarted")
                    self.counts.restarts += 1
                    self._fail_all("the batcher failed and is being restarted; try again in a moment")
                    await asyncio.sleep(_PAUSE_S)
        finally:
            self.end()

    def end(self) -> None:
        """Refuse what waits, what is computed and whatever comes."""
        self._fail_all(SHUTTING_DOWN)

    async def _batches(self) -> None:
        worker = ThreadPoolExecutor(1, thread_name_prefix="batcher")
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while batch := self._take():
                    self._running = batch
                    await self._settle(batch, worker)
                    self._running = []
        finally:
            worker.shutdown(wait=False)

    def _take(self) -> list[Ticket[_Key, _Item, _Answer]]:
        """What goes with the question that waited longest, and is still waited for, up to the largest batch."""
        self._forget_settled()
        if not self._waiting:
            return []
        oldest, *others = (ticket for ticket in self._waiting if ticket.key == self._waiting[0].key)
        batch, images = [oldest], oldest.size
        for ticket in others:
            images += ticket.size
            if images > self._largest:
                break
            batch.append(ticket)
        taken = set(map(id, batch))
        self._waiting = deque(ticket for ticket in self._waiting if id(ticket) not in taken)
        return batch

    async def _settle(self, batch: list[Ticket[_Key, _Item, _Answer]], worker: ThreadPoolExecutor) -> None:
        self._began = began = time.perf_counter()
        stopwatch = Stopwatch()
        self.counts.sizes[sum(ticket.size for ticket in batch)] += 1
        items = [ticket.item for ticket in batch]
        compute: Callable[[], Sequence[_Answer]] = partial(self._compute, batch[0].key, items, stopwatch)
        if self._interruption is not None:
            compute = _interruptible(compute, self._interruption(), batch)
        work = asyncio.get_running_loop().run_in_executor(worker, compute)
        try:
            answers = await work
        except Exception as error:
            for ticket in batch:
                ticket.fail(error)
            return
        finally:
            self._began = math.inf
        for ticket, answer in zip(batch, answers, strict=True):
            if not ticket.answer.done():
                ticket.stopwatch.add("queue", (began - ticket.asked) * 1000)
                ticket.stopwatch.add_stages(stopwatch)
                ticket.answer.set_result(answer)

    def _expire(self, ticket: Ticket[_Key, _Item, _Answer]) -> None:
        self.counts.expired += not ticket.answer.done()
        ticket.fail(
            TimeLimitError(f"the request was not answered within {self._timeout_s:g} s, which is all that is allowed")
        )

    def _forget_settled(self) -> None:
        self._waiting = deque(ticket for ticket in self._waiting if not ticket.answer.done())

    def _fail_all(self, sentence: str) -> None:
        self.failure = sentence
        for ticket in (*self._running, *self._waiting):
            ticket.fail(NotReadyError(sentence))
        self._running = []
        self._waiting.clear()


def _interruptible(
    compute: Callable[[], Sequence[_Answer]], interruption: Interruptible, batch: Sequence[Ticket[_Key, _Item, _Answer]]
) -> Callable[[], Sequence[_Answer]]:
    """The same computation, ended as soon as every question of the batch is settled."""

    def look(_: object) -> None:
        if all(ticket.answer.done() for ticket in batch):
            interruption.interrupt()

    def enter_and_compute() -> Sequence[_Answer]:
        with interruption:
            return compute()

    for ticket in batch:
        ticket.answer.add_done_callback(look)
    return enter_and_compute
