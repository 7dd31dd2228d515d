"""Of what /v2 purifies, one image a second of each defense is looked at again, and never at a client's expense."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from service.batching import Batcher
from service.catalog import Catalog
from service.drift import SecondLooks
from service.metrics import Metrics
from service.prediction import Defended, Defense, Question

IMAGES = np.zeros((2, 1, 28, 28), np.float32)
DEFENSES = ("autoencoder", "puvae", "none")


def seen(catalog: Catalog, ask: Callable[[Callable[[str, str, float], None]], None], **limits: Any) -> dict[str, float]:
    """How often each defense is looked at; `ask` gets a function of the graph's kind, its defense and the second."""
    metrics, now = Metrics(), [0.0]

    async def defense(dataset: str, name: str) -> Defense:
        return Defense.of(catalog, dataset, name)

    async def body() -> None:
        batcher: Batcher[Defense, Question, Defended] = Batcher(
            Defense.answer, **{"largest": 4, "max_waiting": 8, "timeout_s": 10, **limits}
        )
        looks = SecondLooks(batcher, metrics, defense, clock=lambda: now[0])

        def at(kind: Any, name: str, second: float) -> None:
            now[0] = second
            looks.at(catalog.manifest.graph("mnist", kind, name), IMAGES)

        serving = asyncio.ensure_future(batcher.serve())
        ask(at)
        async with asyncio.timeout(20):
            await asyncio.gather(*looks._looks)
        serving.cancel()

    asyncio.run(body())
    counts = {name: metrics.registry.get_sample_value("purifier_residual_l2_count", _labels(name)) for name in DEFENSES}
    return {name: count for name, count in counts.items() if count is not None}


def _labels(name: str) -> dict[str, str]:
    return {"dataset": "mnist", "defense": name}


def test_once_a_second_each_defense_through_whatever_graph(catalog: Catalog) -> None:
    def ask(at: Callable[[str, str, float], None]) -> None:
        for second in (0.0, 0.5, 0.9, 1.0, 1.9):
            at("pipeline", "autoencoder", second)
            at("purifier", "autoencoder", second)
        at("purifier", "puvae", 1.9)

    assert seen(catalog, ask) == {"autoencoder": 2, "puvae": 1}


def test_a_classifier_purifies_nothing(catalog: Catalog) -> None:
    assert seen(catalog, lambda at: at("classifier", "none", 0.0)) == {}


@pytest.mark.parametrize("limits", [{"max_waiting": 0}, {"timeout_s": 0}])
def test_a_look_that_finds_no_time_is_dropped_in_silence(catalog: Catalog, limits: dict[str, float]) -> None:
    assert seen(catalog, lambda at: at("pipeline", "autoencoder", 0.0), **limits) == {}
