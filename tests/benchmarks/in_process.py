"""Without HTTP: our graphs against torch eager at batch 1, and how near they come to what this machine can multiply."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import torch

from service.catalog import Catalog, noise
from service.settings import Settings
from tests.benchmarks.task import DATASET, DEFENSE, MODELS, Array
from training.served import load_pipeline

_GEMM = 1536


def in_process(repeats: int) -> dict[str, Any]:
    """Medians in milliseconds at batch 1, taken in turns, their ratios, and the roofline's rows."""
    # The environment that has torch has ONNX Runtime for CPUs.
    catalog = Catalog.load(MODELS, "cpu", Settings().threads)
    torch.set_num_threads(catalog.runtime.threads)
    images = (catalog.samples(DATASET).images[:1, None] / 255).astype(np.float32)
    times = _in_turns({**_ours(catalog, images), **_eager(catalog, images)}, repeats)
    peak = _peak_gflops(repeats)
    return {
        "threads": catalog.runtime.threads,
        "p50_ms": times,
        "ratios": {
            "purify / torch eager": round(times["purify"] / times["purify, torch eager"], 3),
            "pipeline / torch eager": round(times["pipeline"] / times["pipeline, torch eager"], 3),
        },
        "gemm_peak_gflops": peak,
        "roofline": [
            _row(catalog, kind, name, times[name], peak)
            for kind, name in (("purifier", "purify"), ("classifier", "classify"), ("pipeline", "pipeline"))
        ],
    }


def _ours(catalog: Catalog, images: Array) -> dict[str, Callable[[], object]]:
    purifier, classifier = catalog.purifier(DATASET, DEFENSE), catalog.classifier(DATASET)
    graph, session = catalog.pipeline(DATASET, DEFENSE)
    assert purifier is not None
    still = noise(graph, len(images), None)
    return {
        "purify": lambda: purifier.purify(images),
        "classify": lambda: classifier.logits(images),
        "pipeline": lambda: session.run(images=images, noise=still),
    }


def _eager(catalog: Catalog, images: Array) -> dict[str, Callable[[], object]]:
    pipeline = load_pipeline(MODELS, catalog.manifest, DATASET, DEFENSE)
    still = torch.from_numpy(noise(catalog.pipeline(DATASET, DEFENSE)[0], len(images), None))
    tensor = torch.from_numpy(images)

    def eagerly(module: Callable[..., object]) -> Callable[[], object]:
        def call() -> object:
            with torch.inference_mode():
                return module(tensor, still)

        return call

    return {"purify, torch eager": eagerly(pipeline.purifier), "pipeline, torch eager": eagerly(pipeline)}


def _in_turns(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Round by round, so that a slow minute of the machine is everybody's."""
    durations: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 2):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if turn >= 2:
                durations[name].append((time.perf_counter() - began) * 1000)
    return {name: statistics.median(each) for name, each in durations.items()}


def _peak_gflops(repeats: int) -> float:
    """The best of several large matrix products in float32."""
    left, right = torch.rand(_GEMM, _GEMM), torch.rand(_GEMM, _GEMM)
    best_ms = math.inf
    for _ in range(min(repeats, 10)):
        began = time.perf_counter()
        torch.mm(left, right)
        best_ms = min(best_ms, (time.perf_counter() - began) * 1000)
    return 2 * _GEMM**3 / best_ms / 1e6


def _row(catalog: Catalog, kind: Any, name: str, p50_ms: float, peak: float) -> dict[str, Any]:
    graph = catalog.manifest.graph(DATASET, kind, "none" if kind == "classifier" else DEFENSE)
    macs, weights = work(MODELS / graph.file)
    reached = 2 * macs / p50_ms / 1e6
    return {
        "graph": graph.name,
        "multiply_adds": macs,
        "weight_bytes": weights,
        "p50_ms": p50_ms,
        "gflops": reached,
        "share_of_peak": reached / peak,
    }


def work(path: Any) -> tuple[int, int]:
    """Multiply-adds of one image, and the bytes of float32 weights that they read, of convolutions and products."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path, load_external_data=False))
    shapes = {item.name: tuple(item.dims) for item in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        shapes[value.name] = tuple(dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim)
    macs = weights = 0
    for node in model.graph.node:
        if node.op_type not in {"Conv", "ConvTranspose", "Gemm", "MatMul"}:
            continue
        weight, out = shapes[node.input[1]], shapes[node.output[0]]
        if node.op_type == "Conv":
            macs += math.prod(out) * math.prod(weight[1:])
        elif node.op_type == "ConvTranspose":
            macs += math.prod(shapes[node.input[0]]) * math.prod(weight[1:])
        else:
            macs += math.prod(weight)
        weights += 4 * math.prod(weight)
    return macs, weights
