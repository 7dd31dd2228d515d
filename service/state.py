"""What lives as long as the process: settings, models (once they are loaded), lanes and latencies."""

from __future__ import annotations

from service.catalog import Catalog
from service.errors import NotReadyError
from service.lanes import Lane
from service.latency import LatencyBook
from service.settings import Settings


class ServiceState:
    """One per application. `failure` says why the models could not be loaded, `draining` that it shuts down."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.latency = LatencyBook()
        self.quick = Lane("classification", workers=settings.workers, max_waiting=settings.max_waiting)
        self.heavy = Lane("attack or benchmark", workers=1, max_waiting=settings.max_waiting_attacks)
        self.catalog: Catalog | None = None
        self.failure: str | None = None
        self.draining = False

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
            NotReadyError: they are not loaded, or the server is shutting down.
        """
        if self.draining:
            raise NotReadyError("the server is shutting down; send new requests elsewhere")
        return self.loaded()
