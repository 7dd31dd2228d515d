"""`python -m training table3`: every defense timed in ONNX Runtime and in torch, into models/latency.csv.

Table 3 of the paper sets accuracy against time, with times of other defenses copied from other hardware. Here all of
them run on one machine, warm, with the same threads, alternating.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from service import manifest as manifests
from service.catalog import Catalog, noise
from service.images import from_bytes
from service.latency import percentiles
from training import costs, latencies, results
from training.alternating import alternate
from training.commit import current_commit
from training.latencies import Latency, Library, Stage
from training.served import current_rows, load_classifier, load_pipeline

BATCHES = (1, 64)
_Key = tuple[Stage, str, Library]
_Array = np.ndarray[Any, Any]


def measure(
    models: Path,
    datasets: Sequence[str],
    *,
    device: torch.device,
    threads: int | None,
    repeats: int,
    budget_s: float,
) -> list[Latency]:
    """Time purifiers alone, with the classifier, and classifiers alone, on shipped samples with latent noise zero.

    Every data set of the manifest where none is named. The rows go into models/latency.csv after each batch size.

    Raises:
        ManifestError: a file is not what the manifest says.
        ParameterError: a data set is unknown.
    """
    catalog = Catalog.load(models, "cuda" if device.type == "cuda" else "cpu", threads)
    torch.set_num_threads(catalog.runtime.threads)
    rows = []
    for dataset in datasets or catalog.datasets:
        for batch in BATCHES:
            calls = dict(_calls(catalog, dataset, batch, device))
            durations = alternate(calls, repeats=repeats, budget_s=budget_s)
            found = [_row(catalog, dataset, batch, device, key, times) for key, times in durations.items()]
            latencies.merge(models / latencies.FILE_NAME, found)
            rows += found
    return rows


def printed(models: Path, rows: Sequence[Latency]) -> str:
    """The timings in milliseconds, and Table 3 with the recorded accuracies beside them."""
    names = ("dataset", "stage", "defense", "batch", "runtime", "p50_ms", "p95_ms", "p99_ms", "n")
    lines = ["  ".join(f"{name:>14}" for name in names)]
    lines += ["  ".join(f"{getattr(row, name):>14}" for name in names) for row in rows]
    manifest = manifests.read(models)
    recorded = results.select(current_rows(models, manifest), norm="linf", precision="fp32")
    datasets = tuple(dict.fromkeys(row.dataset for row in rows))
    return "\n".join([*lines, "", costs.written(recorded, rows, datasets, latencies.FILE_NAME)])


def _calls(
    catalog: Catalog, dataset: str, batch: int, device: torch.device
) -> Iterator[tuple[_Key, Callable[[], object]]]:
    samples = catalog.samples(dataset).images
    images = from_bytes(samples[np.arange(batch) % len(samples)])[:, None]
    for defense in catalog.defenses(dataset):
        purifier = catalog.purifier(dataset, defense)
        if purifier is None:
            session = catalog.classifier(dataset, defense, "fp32").session
            net = load_classifier(catalog.folder, catalog.manifest, dataset, defense)
            yield ("classify", defense, "onnxruntime"), _served(session.run, images=images)
            yield ("classify", defense, "torch"), _eager(net, device, images)
            continue
        still = noise(purifier.graph, batch, None)
        _, fused = catalog.pipeline(dataset, defense)
        pipeline = load_pipeline(catalog.folder, catalog.manifest, dataset, defense)
        yield ("purify", defense, "onnxruntime"), _served(purifier.session.run, images=images, noise=still)
        yield ("purify", defense, "torch"), _eager(pipeline.purifier, device, images, still)
        yield ("pipeline", defense, "onnxruntime"), _served(fused.run, images=images, noise=still)
        yield ("pipeline", defense, "torch"), _eager(pipeline, device, images, still)


def _served(run: Callable[..., object], **inputs: _Array) -> Callable[[], object]:
    return lambda: run(**inputs)


def _eager(module: torch.nn.Module, device: torch.device, *inputs: _Array) -> Callable[[], object]:
    """As in ONNX Runtime, from the host's memory and back into it."""
    module.to(device)
    tensors = [torch.from_numpy(array) for array in inputs]

    def call() -> object:
        with torch.no_grad():
            return module(*(tensor.to(device) for tensor in tensors)).cpu()

    return call


def _row(
    catalog: Catalog, dataset: str, batch: int, device: torch.device, key: _Key, durations_ms: Sequence[float]
) -> Latency:
    stage, defense, library = key
    measured = percentiles(durations_ms)
    return Latency(
        dataset=dataset,
        stage=stage,
        defense=defense,
        batch=batch,
        precision="fp32",
        runtime=library,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(catalog.runtime.threads),
        p50_ms=round(measured.p50_ms, 4),
        p95_ms=round(measured.p95_ms, 4),
        p99_ms=round(measured.p99_ms, 4),
        n=measured.count,
        commit=current_commit(),
    )


def _processor(threads: int) -> str:
    names = [line for line in _cpuinfo() if line.startswith("model name")]
    name = names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()
    return f"{name}, {threads} {'thread' if threads == 1 else 'threads'}"


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
