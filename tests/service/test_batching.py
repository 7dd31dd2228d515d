"""What waits is computed together, what nobody waits for is not computed, and no question is left without an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, current_thread, main_thread
from typing import Any

import pytest

from service import batching
from service.batching import Batcher, Ticket
from service.errors import AbandonedError, BusyError, NotReadyError, TimeLimitError
from service.latency import Stopwatch

Echo = Batcher[str, int, int]


class Doubler:
    """Doubles numbers; while `gate` is closed it waits. `seen`: the batches, with their keys."""

    def __init__(self) -> None:
        self.gate = Event()
        self.gate.set()
        self.seen: list[tuple[str, list[int]]] = []

    def __call__(self, key: str, items: Sequence[int], stopwatch: Stopwatch) -> list[int]:
        assert current_thread() is not main_thread()
        assert self.gate.wait(10)
        self.seen.append((key, list(items)))
        if -1 in items:
            raise ZeroDivisionError("minus one")
        with stopwatch.stage("double"):
            # One answer too few is a fault of the batcher's own, not of the batch.
            return [2 * item for item in items if item != -2]


@contextmanager
def held(compute: Doubler) -> Iterator[None]:
    """While the worker is busy with what came first."""
    compute.gate.clear()
    try:
        yield
    finally:
        compute.gate.set()


def ask(batcher: Echo, item: int, key: str = "k") -> asyncio.Future[int]:
    return asyncio.ensure_future(batcher.answer(batcher.enter(key, item, Stopwatch())))


def run(scenario: Callable[[Echo, Doubler], Coroutine[Any, Any, None]], **limits: Any) -> None:
    async def body() -> None:
        compute = Doubler()
        batcher: Echo = Batcher(compute, **{"largest": 4, "max_waiting": 8, "timeout_s": 10, **limits})
        serving = asyncio.ensure_future(batcher.serve())
        try:
            async with asyncio.timeout(20):
                await scenario(batcher, compute)
        finally:
            compute.gate.set()
            serving.cancel()

    asyncio.run(body())


async def busy_with(batcher: Echo, item: int) -> asyncio.Future[int]:
    """A question that the worker has taken already."""
    answer = ask(batcher, item)
    while batcher.waiting:
        await asyncio.sleep(0)
    return answer


def test_what_comes_while_the_worker_is_busy_goes_together_up_to_the_largest_batch() -> None:
    async def scenario(batcher: Echo, compute: Doubler) -> None:
        with held(compute):
            first = await busy_with(batcher, 0)
            rest = [ask(batcher, item) for item in range(1, 7)]
        assert await asyncio.gather(first, *rest) == [0, 2, 4, 6, 8, 10, 12]
        assert [items for _, items in compute.seen] == [[0], [1, 2, 3, 4], [5, 6]]
        assert batcher.counts.sizes == {1: 1, 4: 1, 2: 1}

    run(scenario)


def test_only_what_has_the_same_key_goes_together_and_the_oldest_goes_first() -> None:
    async def scenario(batcher: Echo, compute: Doubler) -> None:
        with held(compute):
            first = await busy_with(batcher, 0)
            rest = [ask(batcher, item, key) for item, key in ((1, "a"), (2, "b"), (3, "a"))]
        assert await asyncio.gather(first, *rest) == [0, 2, 4, 6]
        assert compute.seen[1:] == [("a", [1, 3]), ("b", [2])]

    run(scenario)


def test_a_full_queue_refuses_at_once_and_takes_questions_again_afterwards() -> None:
    async def scenario(batcher: Echo, compute: Doubler) -> None:
        with held(compute):
            first = await busy_with(batcher, 0)
            second = ask(batcher, 1)
            await asyncio.sleep(0)
            with pytest.raises(BusyError, match="1 requests are waiting, which is all that is allowed"):
                batcher.enter("k", 2, Stopwatch())
        assert [await first, await second] == [0, 2]
        assert await ask(batcher, 3) == 6
        assert batcher.counts.shed == 1

    run(scenario, max_waiting=1)


def test_a_question_that_waited_too_long_is_answered_and_never_computed() -> None:
    async def scenario(batcher: Echo, compute: Doubler) -> None:
        with held(compute):
            first = await busy_with(batcher, 0)
            with pytest.raises(TimeLimitError, match=r"not answered within 0.05 s"):
                await ask(batcher, 1)
        with pytest.raises(TimeLimitError):
            await first
        assert await ask(batcher, 2) == 4
        assert [items for _, items in compute.seen] == [[0], [2]]
        assert batcher.counts.expired == 2

    run(scenario, timeout_s=0.05)


def test_a_question_that_nobody_waits_for_is_never_computed_and_frees_its_place() -> None:
    async def scenario(batcher: Echo, compute: Doubler) -> None:
        with held(compute):
            first = await busy_with(batcher, 0)
            gone: Ticket[str, int, int] = batcher.enter("k", 1, Stopwatch())
            gone.abandon()
            with pytest.raises(AbandonedError):
                await batcher.answer(gone)
            cancelled = asyncio.ensure_future(batcher.answer(batcher.enter("k", 2, Stopwatch())))
            await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.sleep(0)
            last = ask(batcher, 3)
        assert [await first, await last] == [0, 6]
        assert [items for _, items in compute.seen] == [[0], [3]]
        assert batcher.counts.abandoned == 1

    run(scenario, max_waiting=1)


class Cord:
    """What ends a batch: remembers whether it was entered, off the event loop, left, and pulled."""

    def __init__(self) -> None:
        self.entered = Event()
        self.left = self.pulled = False

    def __enter__(self) -> None:
        assert current_thread() is not main_thread()
        self.entered.set()

    def __exit__(self, *_: object) -> None:
        self.left = True

    def interrupt(self) -> None:
        self.pulled = True


def test_a_batch_is_ended_once_nobody_waits_for_any_of_it_and_not_before() -> None:
    cords: list[Cord] = []

    def cord() -> Cord:
        cords.append(Cord())
        return cords[-1]

    async def scenario(batcher: Echo, compute: Doubler) -> None:
        with held(compute):
            first, second = ask(batcher, 1), ask(batcher, 2)
            while not cords:
                await asyncio.sleep(0)
            assert await asyncio.to_thread(cords[0].entered.wait, 10)
            first.cancel()
            await asyncio.sleep(0.01)
            assert not cords[0].pulled
            second.cancel()
            await asyncio.sleep(0.01)
            assert cords[0].pulled
            assert not cords[0].left
        assert await ask(batcher, 3) == 6
        assert cords[0].left

    run(scenario, interruption=cord)


def test_an_error_of_the_computation_is_the_answer_of_its_batch_alone() -> None:
    async def scenario(batcher: Echo, compute: Doubler) -> None:
        with pytest.raises(ZeroDivisionError, match="minus one"):
            await ask(batcher, -1)
        assert await ask(batcher, 1) == 2
        assert batcher.failure is None
        assert batcher.counts.restarts == 0

    run(scenario)


def test_a_batcher_that_fails_says_so_to_all_that_wait_and_is_restarted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(batching, "_PAUSE_S", 0.05)

    async def scenario(batcher: Echo, compute: Doubler) -> None:
        with held(compute):
            first = await busy_with(batcher, -2)
            waiting = ask(batcher, 1)
            await asyncio.sleep(0)
        for lost in (first, waiting):
            with pytest.raises(NotReadyError, match="is being restarted"):
                await lost
        assert batcher.failure is not None
        with pytest.raises(NotReadyError, match="is being restarted"):
            batcher.enter("k", 2, Stopwatch())
        while batcher.failure is not None:
            await asyncio.sleep(0.01)
        assert await ask(batcher, 3) == 6
        assert batcher.counts.restarts == 1

    run(scenario)
    assert "the batcher failed" in caplog.text


def test_what_waits_at_the_end_is_told_so() -> None:
    async def scenario() -> None:
        compute = Doubler()
        batcher: Echo = Batcher(compute, largest=4, max_waiting=8, timeout_s=10)
        serving = asyncio.ensure_future(batcher.serve())
        with held(compute):
            first = await busy_with(batcher, 0)
            serving.cancel()
            with pytest.raises(NotReadyError, match="shutting down"):
                await first

    asyncio.run(scenario())


def test_the_stages_of_a_batch_and_the_wait_before_it_are_each_questions_own() -> None:
    async def scenario(batcher: Echo, compute: Doubler) -> None:
        stopwatch = Stopwatch()
        with held(compute):
            first = await busy_with(batcher, 0)
            second = asyncio.ensure_future(batcher.answer(batcher.enter("k", 1, stopwatch)))
            await asyncio.sleep(0.03)
        await asyncio.gather(first, second)
        assert set(stopwatch.read_ms()) == {"queue", "double", "total"}
        assert stopwatch.read_ms()["queue"] >= 25

    run(scenario)
