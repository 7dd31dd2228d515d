"""What Prometheus reads: counters and histograms of requests and answers, and the state at the time of asking.

Labels come from the code and the manifest, never from a request, so that their number is bounded. Knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from service.catalog import NO_DEFENSE
from service.prediction import Defended

_PREFIX = "purifier"
_MS_PER_S = 1000
# From a tiny model's classification to an attack of two minutes.
_DURATIONS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
# Lengths of images with 784 pixels in [0, 1]; none is above 28.
_RESIDUALS = (0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 14, 20, 28)
_SHIFTS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SHED = frozenset({429, 503})
NO_ROUTE = "(none)"


class Metrics:
    """The metrics of one application, in a registry of its own. Thread-safe."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.in_flight = Gauge(
            f"{_PREFIX}_requests_in_flight", "Requests that are being answered.", registry=self.registry
        )
        self._requests = Counter(
            f"{_PREFIX}_requests",
            "Requests answered, by template of the path.",
            ("method", "endpoint", "status"),
            registry=self.registry,
        )
        self._shed = Counter(
            f"{_PREFIX}_shed", "Requests turned away: 429 or 503.", ("endpoint", "status"), registry=self.registry
        )
        self._durations = Histogram(
            f"{_PREFIX}_stage_duration_seconds",
            "Time by stage of the requests answered below 400; stage `total` is the whole.",
            ("endpoint", "stage"),
            buckets=_DURATIONS_S,
            registry=self.registry,
        )
        # Watched for drift: when the pictures that come in change, or an attack begins, these move.
        self._residuals = Histogram(
            f"{_PREFIX}_residual_l2",
            "Length of what purification changed of an image, pixels in [0, 1].",
            ("dataset", "defense"),
            buckets=_RESIDUALS,
            registry=self.registry,
        )
        self._shifts = Histogram(
            f"{_PREFIX}_answer_shift",
            "How far purification moved an answer: total variation distance of the probabilities, in [0, 1].",
            ("dataset", "defense"),
            buckets=_SHIFTS,
            registry=self.registry,
        )
        self._disagreements = Counter(
            f"{_PREFIX}_disagreements",
            "Answers that purification changed; compare with the count of residuals.",
            ("dataset", "defense"),
            registry=self.registry,
        )

    def answered(self, method: str, template: str | None, status: int) -> None:
        """Count a request; `template` is the matched route's path, None where there was none."""
        endpoint = template or NO_ROUTE
        self._requests.labels(method if method in _METHODS else "other", endpoint, str(status)).inc()
        if status in _SHED:
            self._shed.labels(endpoint, str(status)).inc()

    def timed(self, endpoint: str, durations_ms: Mapping[str, float]) -> None:
        """Add the durations of one request, stage by stage; endpoints and stages must come from the code."""
        for stage, duration_ms in durations_ms.items():
            self._durations.labels(endpoint, stage).observe(duration_ms / _MS_PER_S)

    def purified(self, dataset: str, defense: str, answer: Defended) -> None:
        """Add what one purification of a client's image changed; both names must be of the manifest."""
        if defense == NO_DEFENSE:
            return
        self._residuals.labels(dataset, defense).observe(answer.evidence.residual_l2)
        self._shifts.labels(dataset, defense).observe(answer.shift)
        disagreements = self._disagreements.labels(dataset, defense)
        if answer.evidence.disagreement:
            disagreements.inc()
