"""What the metrics of drift learn of /v2, whose answers are tensors and carry no evidence. Knows no HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from service.batching import Batcher
from service.catalog import NO_DEFENSE, FloatArray
from service.errors import ServiceError
from service.latency import Stopwatch
from service.manifest import Graph
from service.metrics import Metrics
from service.prediction import Defended, Defense, Question

INTERVAL_S = 1.0


class SecondLooks:
    """Asks about an image of a purifier's or pipeline's client again, as /classify would without a seed.

    The fused graph tells neither what it removed nor what the classifier says without it, and finding out costs more
    than the answer did. Hence at most one image a second of each defense, behind the client's answer, and none of a
    slow one or where the queue is full.
    """

    def __init__(
        self,
        batcher: Batcher[Any, Any, Any],
        metrics: Metrics,
        defense: Callable[[str, str], Awaitable[Defense]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._batcher = batcher
        self._metrics = metrics
        self._defense = defense
        self._clock = clock
        self._last: dict[tuple[str, str], float] = {}
        self._looks: set[asyncio.Task[None]] = set()

    def at(self, graph: Graph, images: FloatArray) -> None:
        """Look at the first of the images (N, 1, 28, 28) that a graph has answered, where it is time."""
        name, now = (graph.dataset, graph.defense), self._clock()
        if graph.defense == NO_DEFENSE or graph.slow or now - self._last.get(name, -INTERVAL_S) < INTERVAL_S:
            return
        self._last[name] = now
        look = asyncio.create_task(self._look(*name, images[:1]))
        # The loop itself keeps no task alive.
        self._looks.add(look)
        look.add_done_callback(self._looks.discard)

    async def _look(self, dataset: str, defense: str, image: FloatArray) -> None:
        with suppress(ServiceError):
            ticket = self._batcher.enter(await self._defense(dataset, defense), Question(image, None), Stopwatch())
            answer: Defended = await self._batcher.answer(ticket)
            self._metrics.purified(dataset, defense, answer)
