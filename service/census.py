"""The state of the service as metrics, read at each scrape: readiness, lanes, engine and models."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.catalog import Catalog
from service.errors import NotReadyError
from service.state import ServiceState


class Census(Collector):
    """Collects from the live state, so that nothing must be kept in step with it."""

    def __init__(self, state: ServiceState, version: str) -> None:
        self._state = state
        self._version = version

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: what there is depends on the models."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The state at this moment."""
        build = {"version": self._version, "python": platform.python_version()}
        yield _info("purifier_build_info", "The release that runs.", [build])
        yield GaugeMetricFamily("purifier_ready", "1 where /readyz answers 200.", value=self._ready())
        held = self._state.bodies.held_bytes
        yield GaugeMetricFamily(
            "purifier_bodies_held_bytes", "Bodies of requests that are not answered yet.", value=held
        )
        yield from self._lanes()
        yield from self._batcher()
        if self._state.catalog is not None:
            yield from _models(self._state.catalog)

    def _ready(self) -> int:
        try:
            self._state.ready()
        except NotReadyError:
            return 0
        return 1

    def _lanes(self) -> Iterator[Metric]:
        running = GaugeMetricFamily("purifier_lane_running", "Jobs that run, by lane.", labels=("lane",))
        waiting = GaugeMetricFamily("purifier_lane_waiting", "Jobs that wait, by lane.", labels=("lane",))
        for lane in (self._state.pictures, self._state.tensors, self._state.heavy):
            running.add_metric((lane.name,), lane.running)
            waiting.add_metric((lane.name,), lane.waiting)
        running.add_metric(("slow defense",), self._state.slow.running)
        waiting.add_metric(("slow defense",), self._state.slow.waiting)
        yield running
        yield waiting

    def _batcher(self) -> Iterator[Metric]:
        waiting, counts = self._state.batcher.waiting, [self._state.batcher.counts, self._state.slow.counts]
        yield GaugeMetricFamily("purifier_batcher_waiting", "Requests that wait for a batch.", value=waiting)
        sizes = CounterMetricFamily("purifier_batches", "Batches computed, by number of images.", labels=("size",))
        for size, count in sorted(sum((one.sizes for one in counts), Counter()).items()):
            sizes.add_metric((str(size),), count)
        yield sizes
        given_up = CounterMetricFamily(
            "purifier_batcher_given_up", "Requests that were never computed, by reason.", labels=("reason",)
        )
        for reason in ("shed", "expired", "abandoned"):
            given_up.add_metric((reason,), sum(getattr(one, reason) for one in counts))
        yield given_up
        yield CounterMetricFamily(
            "purifier_batcher_restarts",
            "Failures of the batcher, then restarted.",
            value=sum(one.restarts for one in counts),
        )


def _models(catalog: Catalog) -> Iterator[Metric]:
    graphs = catalog.manifest.graphs
    loaded = [(graph, provider) for graph in graphs if (provider := catalog.sessions.provider(graph)) is not None]
    asked, version = catalog.runtime.asked, catalog.runtime.version
    yield _info(
        "purifier_provider_info",
        "The device asked for and each execution provider got.",
        [
            {"asked": asked, "provider": provider, "onnxruntime": version}
            for provider in sorted({provider for _, provider in loaded})
        ],
    )
    yield _info(
        "purifier_model_info",
        "Each loaded graph, with its hash and where it runs.",
        [
            {
                "model": graph.name,
                "kind": graph.kind,
                "dataset": graph.dataset,
                "defense": graph.defense,
                "precision": graph.precision,
                "sha256": graph.sha256,
                "provider": provider,
            }
            for graph, provider in loaded
        ],
    )
    accuracy = GaugeMetricFamily(
        "purifier_model_clean_accuracy", "Recorded accuracy on clean test images, in [0, 1].", labels=("model",)
    )
    for graph, _ in loaded:
        if graph.accuracy is not None:
            accuracy.add_metric((graph.name,), graph.accuracy.clean_accuracy)
    yield accuracy


def _info(name: str, documentation: str, rows: list[dict[str, str]]) -> Metric:
    """A gauge that is always 1, whose labels tell; every row has the same labels."""
    family = GaugeMetricFamily(name, documentation, labels=tuple(rows[0]) if rows else ())
    for row in rows:
        family.add_metric(tuple(row.values()), 1)
    return family
