"""Without HTTP: our graphs against torch eager at batch 1, and how near they come to what this machine can multiply.

*answer* is what /classify computes of one picture: the purifier once, the classifier on two.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch

from service.catalog import Catalog, noise
from service.latency import Stopwatch
from service.precision import Precision
from service.prediction import Defense, Question
from service.settings import Settings
from tests.benchmarks.task import DATASET, DEFENSE, MODELS, Array
from training.alternating import alternate
from training.served import load_pipeline

_BUDGET_S = 20.0
_GEMM = 1536
_PRODUCT = f"""
<ir_version: 9, opset_import: ["": 17]>
product (float[{_GEMM}, {_GEMM}] left, float[{_GEMM}, {_GEMM}] right) => (float[{_GEMM}, {_GEMM}] out) {{
  out = MatMul(left, right)
}}
"""


def in_process(repeats: int) -> dict[str, Any]:
    """Medians in milliseconds at batch 1, taken in turns, their ratios, and the roofline's rows."""
    # The environment that has torch has ONNX Runtime for CPUs.
    catalog = Catalog.load(MODELS, "cpu", Settings().threads, Settings().precision)
    torch.set_num_threads(catalog.runtime.threads)
    images = (catalog.samples(DATASET).images[:1, None] / 255).astype(np.float32)
    durations = alternate({**_ours(catalog, images), **_eager(catalog, images)}, repeats=repeats, budget_s=_BUDGET_S)
    times = {name: statistics.median(each) for name, each in durations.items()}
    peak = _peak_gflops(catalog.runtime.threads, repeats)
    return {
        "threads": catalog.runtime.threads,
        "precision": catalog.precision,
        "p50_ms": times,
        "ratios": {
            "purify / torch eager": round(times["purify"] / times["purify, torch eager"], 3),
            **{
                f"{name} / torch eager": round(times[name] / times["pipeline, torch eager"], 3)
                for name in ("pipeline", "pipeline, int8")
            },
        },
        "gemm_peak_gflops": peak,
        "roofline": [
            _row(catalog, kind, name, times[name], peak)
            for kind, name in (("purifier", "purify"), ("classifier", "classify"), ("pipeline", "pipeline"))
        ],
    }


def _ours(catalog: Catalog, images: Array) -> dict[str, Callable[[], object]]:
    """The pipeline in int8 is two graphs, for a purifier is always fp32."""
    purifier = catalog.purifier(DATASET, DEFENSE)
    exact, small = (catalog.classifier(DATASET, precision=precision) for precision in ("fp32", "int8"))
    graph, session = catalog.pipeline(DATASET, DEFENSE)
    assert purifier is not None
    still = noise(graph, len(images), None)
    question = Question(images, None)

    def answer(precision: Precision | None) -> Callable[[], object]:
        defense = Defense.of(catalog, DATASET, DEFENSE, precision)
        return lambda: defense.answer([question], Stopwatch())

    return {
        "purify": lambda: purifier.purify(images),
        "classify": lambda: exact.logits(images),
        "pipeline": lambda: session.run(images=images, noise=still),
        "pipeline, int8": lambda: small.logits(purifier.purify(images)),
        "answer": answer(None),
        "answer, fp32": answer("fp32"),
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


def _peak_gflops(threads: int, repeats: int) -> float:
    """The best of several large matrix products in float32, by ONNX Runtime: on AMD it is twice torch's, by MKL."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    product = ort.InferenceSession(onnx.parser.parse_model(_PRODUCT).SerializeToString(), options)
    left, right = np.random.default_rng(0).random((2, _GEMM, _GEMM), np.float32)
    best_ms = math.inf
    for _ in range(min(repeats, 10)):
        began = time.perf_counter()
        product.run(None, {"left": left, "right": right})
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
