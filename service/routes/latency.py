"""GET /latency: live percentiles. POST /latency/benchmark: Table 3 of the paper, measured here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Query, Request

from service import records
from service.benchmark import PAPER_ACCURACY, PAPER_NOTE, PAPER_SECONDS, Timing, benchmark
from service.dependencies import Models, State, Timer, leash_on, no_body, no_parameters
from service.errors import ParameterError
from service.latency import RELATIVE_ERROR, WINDOW_S, Percentiles
from service.records import Record
from service.routes.documentation import refusals
from service.routes.routing import Router
from service.schemas.queries import MAX_BENCHMARK_IMAGES, BenchmarkQuery
from service.schemas.timings import (
    AccuracyRow,
    BenchmarkAnswer,
    BenchmarkRow,
    LatencyAnswer,
    PercentilesAnswer,
    RecordedShare,
    ReferenceRow,
    StageAnswer,
)

router = Router(prefix="/latency", tags=["latency"])


@router.get("", dependencies=[Depends(no_parameters)])
async def latency(state: State) -> LatencyAnswer:
    """Percentiles per endpoint and stage, since the start and over the last minute."""
    return LatencyAnswer(
        relative_error=RELATIVE_ERROR,
        window_s=WINDOW_S,
        stages=tuple(
            StageAnswer(
                endpoint=reading.endpoint,
                stage=reading.stage,
                since_start=_percentiles(reading.since_start),
                last_minute=_percentiles(reading.last_minute),
            )
            for reading in state.latency.readings()
        ),
    )


@router.post("/benchmark", responses=refusals(408, 415), dependencies=[Depends(no_body)])
async def run_benchmark(
    request: Request, state: State, catalog: Models, timer: Timer, query: Annotated[BenchmarkQuery, Query()]
) -> BenchmarkAnswer:
    """Time purification, classification and both in one graph, warm and alone in the server; of `all`: Table 3."""
    images = query.batch * query.repeats
    if images > MAX_BENCHMARK_IMAGES:
        raise ParameterError(
            f"batch x repeats is {query.batch} x {query.repeats} = {images}; allowed: at most {MAX_BENCHMARK_IMAGES}"
        )

    def job() -> tuple[list[Timing], tuple[Record, ...]]:
        chosen = {"batch": query.batch, "repeats": query.repeats}
        recorded = records.read(catalog.folder, catalog.manifest)
        return benchmark(catalog, query.dataset, query.defense, **chosen), recorded

    async with leash_on(request, state) as leash:
        timings, recorded = await state.heavy.run(job, timer, leash)
    return BenchmarkAnswer(
        dataset=query.dataset,
        threads=catalog.runtime.threads,
        rows=tuple(BenchmarkRow(**timing.row()) for timing in timings),
        accuracies=tuple(
            _accuracies(recorded, query.dataset, name) for name in dict.fromkeys(timing.defense for timing in timings)
        ),
        paper=tuple(
            ReferenceRow(defense=name, seconds_per_image=seconds, robust_accuracy=PAPER_ACCURACY[name])
            for name, seconds in PAPER_SECONDS.items()
        ),
        paper_note=PAPER_NOTE,
    )


def _accuracies(recorded: Sequence[Record], dataset: str, defense: str) -> AccuracyRow:
    clean, fgsm, pgd = (
        RecordedShare.of(records.largest(recorded, dataset, defense, attack, eps))
        for attack, eps in (("none", 0.0), ("fgsm", 0.6), ("pgd", 0.15))
    )
    return AccuracyRow(defense=defense, clean=clean, fgsm=fgsm, pgd=pgd)


def _percentiles(measured: Percentiles | None) -> PercentilesAnswer | None:
    return None if measured is None else PercentilesAnswer(**vars(measured))
