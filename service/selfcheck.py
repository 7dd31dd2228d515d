"""`python -m service --self-check`: every graph as it would be served, beside ONNX Runtime at its plainest.

The reference is the CPU provider with one thread and no graph optimised, so that a wrong kernel, a fusion or a GPU's
rounding shows. The self-test at every start asks less of fewer graphs. Knows no HTTP.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.catalog import Catalog, FloatArray
from service.inference import Tensors
from service.manifest import Graph
from service.runtime import Runtime
from service.selftest import first_samples

# A GPU's convolutions round their factors to 11 bits (TF32).
_LIMITS = {"CPUExecutionProvider": 1e-3, "CUDAExecutionProvider": 2e-2}
# A tie in a pooling, decided otherwise, turns entries of a gradient.
_GRADIENTS = 10
# What takes tenths of a second an image; its two hundred steps carry a rounding error into the first digit.
_IMAGES_SLOW = 2
_LIMIT_SLOW = 0.25
# Near ties: two images of thirty, as in the self-test.
_MAY_TURN = 1 / 15


@dataclass(frozen=True)
class Comparison:
    """A graph's outputs beside the reference's.

    `difference` is its length as a share of the reference's, of the worst output; `turned` counts the images that are
    called otherwise, and is None for what names no class. `limit` is None where only the classes count, since int8
    and fp16 round. `why` says why the graph could not be run at all.
    """

    graph: str
    provider: str
    n: int = 0
    difference: float = math.nan
    limit: float | None = None
    turned: int | None = None
    why: str = ""

    @property
    def passes(self) -> bool:
        """Whether the graph answers as the reference does."""
        close = self.limit is None or self.difference <= self.limit
        return math.isfinite(self.difference) and close and (self.turned or 0) <= _MAY_TURN * self.n

    def __str__(self) -> str:
        if self.why:
            return f"FAIL {self.graph} on {self.provider}: {self.why}"
        limit = "" if self.limit is None else f" (allowed: {self.limit:g})"
        turned = "" if self.turned is None else f", {self.turned} of {self.n} called otherwise"
        verdict = "ok  " if self.passes else "FAIL"
        return f"{verdict} {self.graph} on {self.provider}: differs by {self.difference:.1e}{limit}{turned}"


def compare(catalog: Catalog) -> Iterator[Comparison]:
    """Every shipped graph on the catalog's device, one after the other, on shipped samples with noise zero."""
    plain = Runtime("cpu", 1, optimized=False)
    for graph in catalog.manifest.graphs:
        provider = "the device"
        try:
            session = catalog.runtime.open(catalog.folder / graph.file)
            provider = session.provider
            images = first_samples(catalog.samples(graph.dataset))
            inputs = _inputs(graph, images[:_IMAGES_SLOW] if graph.slow else images)
            reference = plain.open(catalog.folder / graph.file).run(**inputs)
            session.run(**inputs)  # a GPU replays from the second on
            yield _compared(graph, provider, session.run(**inputs), reference)
        except Exception as error:  # the engine's own, of many kinds: the other graphs are worth a line too
            yield Comparison(graph.name, provider, why=str(error).partition("\n")[0])


def run(catalog: Catalog) -> bool:
    """Print each comparison as it is made, and whether all passed."""
    failed = 0
    for comparison in compare(catalog):
        print(comparison, flush=True)
        failed += not comparison.passes
    print(f"self-check: {failed} of {len(catalog.manifest.graphs)} graphs failed")
    return not failed


def _inputs(graph: Graph, images: FloatArray) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """The samples; zero for noise, and for the weights of a gradient the first logit's."""
    given: dict[str, FloatArray] = {}
    for spec in graph.inputs:
        shape = tuple(len(images) if size == "N" else size for size in spec.shape)
        given[spec.name] = images if spec.name == "images" else np.zeros(shape, np.float32)
    if "cotangent" in given:
        given["cotangent"][:, 0] = 1
    return given


def _compared(graph: Graph, provider: str, served: Tensors, reference: Tensors) -> Comparison:
    smallest = np.finfo(np.float32).tiny
    differences = [
        np.linalg.norm(served[name] - expected) / max(np.linalg.norm(expected), smallest)
        for name, expected in reference.items()
    ]
    turned = None
    if "logits" in reference:
        turned = int((served["logits"].argmax(axis=1) != reference["logits"].argmax(axis=1)).sum())
    return Comparison(
        graph=graph.name,
        provider=provider,
        n=len(next(iter(reference.values()))),
        difference=float(np.max(differences)),  # and not max(), which loses a NaN
        limit=_limit(graph, provider),
        turned=turned,
    )


def _limit(graph: Graph, provider: str) -> float | None:
    if graph.precision != "fp32":
        return None
    if graph.slow:
        return _LIMIT_SLOW
    return _LIMITS[provider] * (_GRADIENTS if "gradient" in graph.kind else 1)
