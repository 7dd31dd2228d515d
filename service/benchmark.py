"""Table 3 of the paper, measured on this machine: purification and classification alone, warm. Knows no HTTP.

`python -m service.benchmark` prints the table for every data set and defense; its last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from service.catalog import NO_DEFENSE, Catalog, FloatArray, noise
from service.errors import ServiceError, StartupError, shortened
from service.images import from_bytes
from service.latency import percentiles
from service.manifest import Graph
from service.prediction import Defense
from service.settings import Settings, why_refused

PAPER_SECONDS = {"defense_gan": 14.80, "puvae": 0.11, "autoencoder": 0.008}
PAPER_ACCURACY = {"defense_gan": 0.8529, "puvae": 0.8133, "autoencoder": 0.9209}
PAPER_NOTE = "copied from the paper's Table 3: measured on other hardware, so that only the ratios compare"
STAGE_S = 10.0
ALL = "all"
_WARM_UP = 2
_BATCHES = (1, 32)


@dataclass(frozen=True)
class Timing:
    """One stage, timed alone: milliseconds per call of a whole batch."""

    stage: str
    graph: Graph
    defense: str
    batch: int
    provider: str
    runtime: str
    durations_ms: tuple[float, ...]

    def row(self) -> dict[str, Any]:
        """As `service.schemas.timings.BenchmarkRow` has it."""
        measured = percentiles(self.durations_ms)
        return {
            "stage": self.stage,
            "defense": self.defense,
            "batch": self.batch,
            "precision": self.graph.precision,
            "runtime": self.runtime,
            "device": self.provider,
            "p50_ms": measured.p50_ms,
            "p95_ms": measured.p95_ms,
            "p99_ms": measured.p99_ms,
            "per_image_ms": measured.p50_ms / self.batch,
            "n": measured.count,
        }


def benchmark(catalog: Catalog, dataset: str, defense: str, *, batch: int, repeats: int) -> list[Timing]:
    """Time each stage `repeats` times on a batch of shipped samples; two calls before it are not counted.

    After ten seconds of a stage no further call of it begins, and of a slow graph all calls count. A defense without
    a purifier has only its classifier to time. 'all' stands for every defense; what they share is timed once.

    Raises:
        ParameterError: the data set or the defense is unknown.
    """
    names = catalog.defenses(dataset) if defense == ALL else (defense,)
    images = _images(catalog, dataset, batch)
    timed: dict[str, tuple[float, ...]] = {}
    timings = []
    for name in names:
        for stage, graph, call in _stages(catalog, dataset, name, images):
            if graph.name not in timed:
                timed[graph.name] = _time(call, repeats, warm_up=0 if graph.slow else _WARM_UP)
            provider, runtime = catalog.sessions.provider(graph) or "", f"onnxruntime {catalog.runtime.version}"
            timings.append(Timing(stage, graph, name, batch, provider, runtime, timed[graph.name]))
    return timings


def _stages(
    catalog: Catalog, dataset: str, defense: str, images: FloatArray
) -> list[tuple[str, Graph, Callable[[], object]]]:
    parts = Defense.of(catalog, dataset, defense)
    purifier, classifier = parts.purifier, parts.classifier
    classify = ("classify", classifier.graph, lambda: classifier.logits(images))
    if purifier is None:
        return [classify]
    graph, session = catalog.pipeline(dataset, defense)
    still = noise(graph, len(images), None)
    return [
        ("purify", purifier.graph, lambda: purifier.purify(images)),
        classify,
        ("pipeline", graph, lambda: session.run(images=images, noise=still)),
    ]


def _time(call: Callable[[], object], repeats: int, *, warm_up: int) -> tuple[float, ...]:
    for _ in range(warm_up):
        call()
    durations_ms: list[float] = []
    while len(durations_ms) < repeats and sum(durations_ms) < 1000 * STAGE_S:
        began = time.perf_counter()
        call()
        durations_ms.append((time.perf_counter() - began) * 1000)
    return tuple(durations_ms)


def _images(catalog: Catalog, dataset: str, batch: int) -> FloatArray:
    samples = catalog.samples(dataset).images
    return from_bytes(samples[np.arange(batch) % len(samples)])[:, None]


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 2 where the options, the settings or the models are refused."""
    parser = argparse.ArgumentParser(prog="python -m service.benchmark", description=__doc__)
    parser.add_argument("--models-dir", type=Path)
    parser.add_argument("--device", help="auto (default), cpu or cuda")
    parser.add_argument("--threads")
    parser.add_argument("--repeats", type=_count, default=50, help="timed calls of each stage (default 50)")
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    repeats = given.pop("repeats")
    try:
        settings = Settings(**given)
        catalog = Catalog.load(settings.models_dir, settings.device, settings.threads, settings.precision)
        rows = [row for dataset in catalog.datasets for row in _rows(catalog, dataset, repeats)]
    except ValidationError as error:
        return _refuse(why_refused(error))
    except (StartupError, ServiceError) as error:
        return _refuse(str(error))
    _print_table(rows)
    summary = {
        "threads": catalog.runtime.threads,
        "rows": rows,
        "paper_seconds": PAPER_SECONDS,
        "note": PAPER_NOTE,
    }
    print(json.dumps(summary))
    return 0


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{shortened(text)} was given; allowed: a whole number of at least 1")
    return int(text)


def _refuse(sentence: str) -> int:
    print(f"service.benchmark: {sentence}", file=sys.stderr)
    return 2


def _rows(catalog: Catalog, dataset: str, repeats: int) -> list[dict[str, Any]]:
    defenses = [name for name in catalog.defenses(dataset) if name != NO_DEFENSE] or [NO_DEFENSE]
    return [
        {"dataset": dataset, **timing.row()}
        for defense in defenses
        for batch in _BATCHES
        for timing in benchmark(catalog, dataset, defense, batch=batch, repeats=repeats)
    ]


def _print_table(rows: list[dict[str, Any]]) -> None:
    columns = (
        "dataset",
        "stage",
        "defense",
        "batch",
        "precision",
        "p50_ms",
        "p95_ms",
        "p99_ms",
        "per_image_ms",
        "n",
        "device",
    )
    print("  ".join(f"{name:>13}" for name in columns))
    for row in rows:
        cells = (f"{row[name]:.3f}" if isinstance(row[name], float) else str(row[name]) for name in columns)
        print("  ".join(f"{cell:>13}" for cell in cells))
    paper = ", ".join(f"{name} {seconds} s an image" for name, seconds in PAPER_SECONDS.items())
    print(f"\nThe paper: {paper}; {PAPER_NOTE}.")


if __name__ == "__main__":
    sys.exit(main())
