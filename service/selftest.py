"""The self-test before readiness: what answers must name shipped test images as it did when it was exported.

A file can match its hash and still answer nonsense: a kernel of the engine that is wrong on this machine, a
provider that overflows. This finds answers that are wrong, not those that are off by a little. Knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from service import images
from service.catalog import DEFAULT_DEFENSE, Catalog, FloatArray
from service.errors import SelfTestError
from service.latency import Stopwatch
from service.manifest import Graph
from service.prediction import Defense, Prediction, predict
from service.samples import SampleSet

# Few, since they delay readiness; enough that answers by chance cannot pass.
SAMPLES = 30
_BATCH = 10
# Near ties, which another processor's kernels may turn.
_MAY_DIFFER = 2


def check(catalog: Catalog) -> None:
    """Classify samples of every data set, with and without the default defense; noise zero.

    Raises:
        SelfTestError: an answer is not finite, or more than two are not the recorded ones.
    """
    for dataset in catalog.datasets:
        samples = catalog.samples(dataset)
        defense = Defense.of(catalog, dataset, DEFAULT_DEFENSE)
        subjects = first_samples(samples)
        undefended, defended = [], []
        for start in range(0, len(subjects), _BATCH):
            batch = subjects[start : start + _BATCH]
            undefended += predict(defense.plain, batch)
            defended += predict(defense.classifier, defense.purify(batch, None, Stopwatch()))
        pipeline = catalog.manifest.graph(dataset, "pipeline", DEFAULT_DEFENSE)
        _judge(defense.plain.graph, samples, undefended)
        _judge(pipeline, samples, defended)


def first_samples(samples: SampleSet) -> FloatArray:
    """The images that the self-test asks about: (up to 30, 1, 28, 28)."""
    return images.from_bytes(samples.images[:SAMPLES])[:, None]


def _judge(graph: Graph, samples: SampleSet, predictions: Sequence[Prediction]) -> None:
    if not all(np.isfinite(prediction.probabilities).all() for prediction in predictions):
        raise SelfTestError(f"self-test: {graph.name} answers NaN or infinity on {samples.entry.file}")
    if graph.golden is None:
        return
    n = len(graph.golden)
    same = sum(prediction.label == class_ for prediction, class_ in zip(predictions, graph.golden, strict=False))
    if same < n - _MAY_DIFFER:
        raise SelfTestError(
            f"self-test: {graph.name} names {same} of {n} images of {samples.entry.file} as it did when it was "
            f"exported; at least {n - _MAY_DIFFER} are needed"
        )
