"""What lives as long as the process: settings, models (once they are loaded), lanes and latencies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from service.batching import Batcher
from service.catalog import Catalog
from service.drift import SecondLooks
from service.errors import SHUTTING_DOWN, NotReadyError
from service.holds import Holds
from service.inference import Interruption
from service.lanes import Lane
from service.latency import LatencyBook, Stopwatch
from service.leash import Leash
from service.metrics import Metrics
from service.oip.execution import Execution
from service.oip.models import Model
from service.oip.statistics import Statistics
from service.prediction import Defense
from service.settings import Settings


class _Answering(Protocol):
    """What the batcher computes: a defense with its questions, or a graph with its tensors."""

    def __hash__(self) -> int: ...

    @property
    def slow(self) -> bool: ...

    def answer(self, items: Sequence[Any], stopwatch: Stopwatch, /) -> Sequence[Any]: ...


class ServiceState:
    """One per application. `failure` says why the models could not be loaded, `draining` that it shuts down."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.latency = LatencyBook()
        self.metrics = Metrics()
        # One for both protocols, since a session fills the processors by itself, and a limit is one for all.
        self.batcher: Batcher[_Answering, Any, Any] = Batcher(
            _answers,
            largest=settings.max_batch,
            max_waiting=settings.max_waiting,
            timeout_s=settings.request_timeout_s,
        )
        # What takes seconds must not hold up what takes milliseconds. One at a time: a batch would only take longer.
        self.slow: Batcher[_Answering, Any, Any] = Batcher(
            _answers,
            largest=1,
            max_waiting=settings.max_waiting_slow,
            timeout_s=settings.slow_timeout_s,
            interruption=Interruption,
        )
        self.bodies = Holds(max(settings.max_bodies_bytes, settings.max_body_bytes))
        self.pictures = Lane("decoding", workers=settings.workers, max_waiting=settings.max_waiting)
        self.heavy = Lane("attack or benchmark", workers=1, max_waiting=settings.max_waiting_attacks)
        self.tensors = Lane("tensor", workers=settings.workers, max_waiting=settings.max_waiting)
        self.leashes: set[Leash] = set()
        self.inferences = Statistics()
        self.second_looks = SecondLooks(self.batcher, self.metrics, self.defense)
        self.catalog: Catalog | None = None
        self.failure: str | None = None
        self.draining = False
        self._defenses: dict[tuple[str, str], Defense] = {}
        self._executions: dict[str, Execution] = {}

    def loaded(self) -> Catalog:
        """The verified and warmed models.

        Raises:
            NotReadyError: they are still being loaded, or could not be.
        """
        if self.catalog is None:
            raise NotReadyError(self.failure or "the models are being loaded and warmed; try again in a moment")
        return self.catalog

    def ready(self) -> Catalog:
        """The models, where new traffic is welcome.

        Raises:
            NotReadyError: they are not loaded, the batcher has failed or hangs, or the server is shutting down.
        """
        if self.draining:
            raise NotReadyError(SHUTTING_DOWN)
        if (trouble := self.batcher.trouble) is not None:
            raise NotReadyError(trouble)
        return self.loaded()

    def end(self) -> None:
        """Answer what still waits or is computed with a refusal, before its connections are cut."""
        self.draining = True
        for leash in tuple(self.leashes):
            leash.cut(NotReadyError(SHUTTING_DOWN))
        for batcher in (self.batcher, self.slow):
            batcher.end()

    def batcher_of(self, asked: _Answering) -> Batcher[_Answering, Any, Any]:
        """Who computes the answers of a defense or a graph."""
        return self.slow if asked.slow else self.batcher

    async def defense(self, dataset: str, name: str) -> Defense:
        """The defense of that name, one object each, so that its questions are batched together.

        Raises:
            ParameterError: the data set or the defense is unknown.
        """
        known = self._defenses.get((dataset, name))
        if known is None:
            # In a thread, since its graphs may have to be opened first.
            found = await self.pictures.run(lambda: Defense.of(self.loaded(), dataset, name), Stopwatch())
            known = self._defenses.setdefault((dataset, name), found)
        return known

    async def execution(self, model: Model) -> Execution:
        """A model that is open, one object each, so that its requests are batched together."""
        known = self._executions.get(model.name)
        if known is None:
            session = await self.pictures.run(lambda: self.loaded().sessions.of(model.graph), Stopwatch())
            opened = Execution(model.name, session, self.inferences.executions, slow=model.graph.slow)
            known = self._executions.setdefault(model.name, opened)
        return known


def _answers(asked: _Answering, items: Sequence[Any], stopwatch: Stopwatch) -> Sequence[Any]:
    return asked.answer(items, stopwatch)
