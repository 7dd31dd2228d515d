"""The benchmark times warm calls only, of the batch that was asked for."""

from __future__ import annotations

import pytest

from service.benchmark import benchmark
from service.catalog import Catalog, Classifier, FloatArray
from tests.service.asking import Array


def test_two_calls_before_the_timed_ones_are_not_counted(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[FloatArray] = []
    logits = Classifier.logits

    def counted(self: Classifier, images: Array) -> FloatArray:
        batches.append(images)
        return logits(self, images)

    monkeypatch.setattr(Classifier, "logits", counted)
    (timing,) = benchmark(catalog, "mnist", "none", batch=40, repeats=3)
    assert len(timing.durations_ms) == 3
    assert [batch.shape for batch in batches] == 5 * [(40, 1, 28, 28)]
