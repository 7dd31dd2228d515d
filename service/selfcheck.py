"""`python -m service --self-check`: every graph as it would be served, beside ONNX Runtime at its plainest.

The reference is the CPU provider with one thread and no graph optimised, so that a wrong kernel, a fusion or a GPU's
rounding shows. The self-test at every start asks less of fewer graphs. Knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.catalog import Catalog, FloatArray
from service.inference import Runtime, Session, Tensors
from service.manifest import Graph
from service.selftest import first_samples

# A GPU's convolutions round their factors to 11 bits (TF32).
_LIMITS = {"CPUExecutionProvider": 1e-3, "CUDAExecutionProvider": 2e-2}
# A tie in a pooling, decided otherwise, turns entries of a gradient.
_GRADIENTS = 10
# Near ties; as in the self-test.
_MAY_TURN = 2
_IMAGES = 30
# One that takes tenths of a second an image.
_IMAGES_SLOW = 2


@dataclass(frozen=True)
class Comparison:
    """A graph's outputs beside the reference's.

    `difference` is its length as a share of the reference's, of the worst output; `turned` counts the images that are
    called otherwise, and is None for what names no class. `limit` is None where only classes are compared: int8 rounds,
    and so do the two hundred steps of a descent.
    """

    graph: str
    provider: str
    n: int
    difference: float
    limit: float | None
    turned: int | None

    @property
    def passes(self) -> bool:
        """Whether the graph answers as the reference does."""
        close = self.limit is None or self.difference <= self.limit
        return bool(np.isfinite(self.difference)) and close and (self.turned or 0) <= _MAY_TURN

    def __str__(self) -> str:
        limit = "" if self.limit is None else f" (allowed: {self.limit:g})"
        turned = "" if self.turned is None else f", {self.turned} of {self.n} called otherwise"
        verdict = "ok  " if self.passes else "FAIL"
        return f"{verdict} {self.graph} on {self.provider}: differs by {self.difference:.1e}{limit}{turned}"


def compare(catalog: Catalog) -> Iterator[Comparison]:
    """Every shipped graph on the catalog's device, one after the other, on shipped samples with noise zero.

    Raises:
        DeviceError: the device cannot be used.
    """
    plain = Runtime("cpu", 1, optimized=False)
    for graph in catalog.manifest.graphs:
        images = first_samples(catalog.samples(graph.dataset))[: _IMAGES_SLOW if graph.slow else _IMAGES]
        session = catalog.runtime.open(catalog.folder / graph.file)
        inputs = _inputs(graph, images)
        served = session.run(**inputs)
        reference = plain.open(catalog.folder / graph.file).run(**inputs)
        yield _compared(graph, session, served, reference)


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


def _compared(graph: Graph, session: Session, served: Tensors, reference: Tensors) -> Comparison:
    difference = max(
        float(np.linalg.norm(served[name] - expected) / max(np.linalg.norm(expected), np.finfo(np.float32).tiny))
        for name, expected in reference.items()
    )
    turned = None
    if "logits" in reference:
        turned = int((served["logits"].argmax(axis=1) != reference["logits"].argmax(axis=1)).sum())
    exact = graph.precision == "fp32" and not graph.slow
    limit = _LIMITS[session.provider] * (_GRADIENTS if "gradient" in graph.kind else 1)
    return Comparison(
        graph=graph.name,
        provider=session.provider,
        n=len(next(iter(reference.values()))),
        difference=difference,
        limit=limit if exact else None,
        turned=turned,
    )
