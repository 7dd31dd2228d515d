"""The self-test before readiness: the shipped test images must be named as well as the manifest says.

A file can match its hash and still answer nonsense: a kernel of the engine that is wrong on this machine, a
provider that overflows. This finds answers that have collapsed, not those that are off by a little. Knows no HTTP.
"""

from __future__ import annotations

import math

import numpy as np

from service import images
from service.catalog import DEFAULT_DEFENSE, Catalog, FloatArray, noise
from service.errors import SelfTestError
from service.manifest import Graph
from service.samples import SampleSet

# Few, since they delay readiness; enough that answers by chance cannot pass.
_SAMPLES, _BATCH = 30, 10
# Of the binomial law: chance alone fails a sound model less than once in ten thousand starts.
_SIGMAS = 4.0


def check(catalog: Catalog) -> None:
    """Classify samples of every data set, with and without the default defense; noise zero.

    Raises:
        SelfTestError: fewer are right than the recorded accuracy allows for.
    """
    for dataset in catalog.datasets:
        samples = catalog.samples(dataset)
        classifier = catalog.classifier(dataset)
        pipeline, session = catalog.pipeline(dataset, DEFAULT_DEFENSE)
        chosen = np.arange(min(_SAMPLES, len(samples.labels)))
        subjects, labels = images.from_bytes(samples.images[chosen])[:, None], samples.labels[chosen]
        undefended, defended = [], []
        for start in range(0, len(chosen), _BATCH):
            batch = subjects[start : start + _BATCH]
            undefended.append(classifier.logits(batch))
            defended.append(session.run(images=batch, noise=noise(pipeline, len(batch), None))["logits"])
        _judge(classifier.graph, samples, np.concatenate(undefended), labels)
        _judge(pipeline, samples, np.concatenate(defended), labels)


def fewest_right(accuracy: float, n: int) -> int:
    """How many of n samples a model of that accuracy (in [0, 1]) names right, at the very least."""
    return max(0, math.floor(n * accuracy - _SIGMAS * math.sqrt(n * accuracy * (1 - accuracy))))


def _judge(
    graph: Graph, samples: SampleSet, logits: FloatArray, labels: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> None:
    if not np.isfinite(logits).all():
        raise SelfTestError(f"self-test: {graph.name} answers NaN or infinity on {samples.entry.file}")
    if graph.accuracy is None:
        return
    right, n = int((logits.argmax(axis=1) == labels).sum()), len(labels)
    needed = fewest_right(graph.accuracy.clean_accuracy, n)
    if right < needed:
        raise SelfTestError(
            f"self-test: {graph.name} names {right} of {n} images of {samples.entry.file} right; at least {needed} "
            f"are to be expected of its recorded accuracy {graph.accuracy.clean_accuracy}"
        )
