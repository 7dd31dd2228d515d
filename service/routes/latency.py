"""GET /latency: live percentiles. POST /latency/benchmark: Table 3 of the paper, measured here."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from service.benchmark import PAPER_ACCURACY, PAPER_NOTE, PAPER_SECONDS, Timing, benchmark
from service.dependencies import Models, State, Timer, no_body, no_parameters
from service.errors import ParameterError
from service.latency import RELATIVE_ERROR, WINDOW_S, Percentiles
from service.routes.documentation import refusals
from service.schemas import (
    MAX_BENCHMARK_IMAGES,
    BenchmarkAnswer,
    BenchmarkQuery,
    BenchmarkRow,
    LatencyAnswer,
    PercentilesAnswer,
    ReferenceRow,
    StageAnswer,
)

router = APIRouter(prefix="/latency", tags=["latency"])


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
    state: State, catalog: Models, timer: Timer, query: Annotated[BenchmarkQuery, Query()]
) -> BenchmarkAnswer:
    """Time purification, classification and both in one graph, warm and alone in the server."""
    images = query.batch * query.repeats
    if images > MAX_BENCHMARK_IMAGES:
        raise ParameterError(
            f"batch x repeats is {query.batch} x {query.repeats} = {images}; allowed: at most {MAX_BENCHMARK_IMAGES}"
        )

    def job() -> list[Timing]:
        return benchmark(catalog, query.dataset, query.defense, batch=query.batch, repeats=query.repeats)

    timings = await state.heavy.run(job, timer)
    return BenchmarkAnswer(
        dataset=query.dataset,
        threads=catalog.runtime.threads,
        rows=tuple(BenchmarkRow(**timing.row()) for timing in timings),
        paper=tuple(
            ReferenceRow(defense=name, seconds_per_image=seconds, robust_accuracy=PAPER_ACCURACY[name])
            for name, seconds in PAPER_SECONDS.items()
        ),
        paper_note=PAPER_NOTE,
    )


def _percentiles(measured: Percentiles | None) -> PercentilesAnswer | None:
    return None if measured is None else PercentilesAnswer(**vars(measured))
