"""What lives as long as the process: settings, models (once they are loaded), lanes and latencies."""

from __future__ import annotations

from service.batching import Batcher
from service.catalog import Catalog
from service.errors import NotReadyError
from service.lanes import Lane
from service.latency import LatencyBook, Stopwatch
from service.metrics import Metrics
from service.oip.statistics import Statistics
from service.prediction import Defended, Defense, Question
from service.settings import Settings


class ServiceState:
    """One per application. `failure` says why the models could not be loaded, `draining` that it shuts down."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.latency = LatencyBook()
        self.metrics = Metrics()
        self.batcher: Batcher[Defense, Question, Defended] = Batcher(
            Defense.answer,
            largest=settings.max_batch,
            max_waiting=settings.max_waiting,
            timeout_s=settings.request_timeout_s,
        )
        self.pictures = Lane("decoding", workers=settings.workers, max_waiting=settings.max_waiting)
        self.heavy = Lane("attack or benchmark", workers=1, max_waiting=settings.max_waiting_attacks)
        self.tensors = Lane("tensor", workers=settings.workers, max_waiting=settings.max_waiting)
        self.inferences = Statistics()
        self.catalog: Catalog | None = None
        self.failure: str | None = None
        self.draining = False
        self._defenses: dict[tuple[str, str], Defense] = {}

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
            NotReadyError: they are not loaded, the batcher has failed, or the server is shutting down.
        """
        if self.draining:
            raise NotReadyError("the server is shutting down; send new requests elsewhere")
        if self.batcher.failure is not None:
            raise NotReadyError(self.batcher.failure)
        return self.loaded()

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
