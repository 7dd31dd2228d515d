"""Loads one contestant, and puts the rounds of all together: medians, and ours against each of the others."""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from service.loadtest.loops import Stop
from service.loadtest.plan import Findings, Plan
from service.loadtest.progress import Progress
from service.loadtest.sending import connections, sender
from tests.benchmarks.contestants import OURS, Contestant

USERS = (1, 4, 16, 32)
# Some go on opening models behind their first answer; that is their start, not their speed.
_SETTLE_S = 5.0
Measured = dict[str, float | None]


async def load(contestant: Contestant, url: str, pictures: Sequence[bytes], seconds: float) -> Findings:
    """Closed loops of 1 to 32 connections, then arrivals at half, one and two times the knee, and half again.

    A few seconds after the first answer, in which a server may finish its start.
    """
    bodies, content_type = zip(*(contestant.body(picture) for picture in pictures), strict=True)
    found = Findings()
    plan = Plan(users=USERS, seconds=seconds, warm_up_s=seconds / 2, calibration_s=0)
    await asyncio.sleep(_SETTLE_S)
    async with connections(url, timeout_s=60) as client:
        send = sender(client, contestant.path, bodies, content_type[0])
        await plan.run(send, send, found, Stop(), Progress(plan.total_s, sys.stderr))
    return found


def figures(found: Findings, ready_s: float) -> Measured:
    """The figures of one round; None where nothing was answered."""
    one, sixteen = (next(stage.summary() for stage in found.closed if stage.users == users) for users in (1, 16))
    half, twice = (found.open_stage(name) for name in ("half the knee", "twice the knee"))
    refused = twice.summary() if twice else None
    return {
        "p50_ms_at_1": one["p50_ms"],
        "rps_at_1": one["achieved_rps"],
        "rps_at_16": sixteen["achieved_rps"],
        "p50_ms_at_16": sixteen["p50_ms"],
        "knee_rps": found.knee.achieved_rps if found.knee else None,
        "p50_ms_at_half_knee": half.summary()["p50_ms"] if half else None,
        "p99_ms_at_half_knee": half.summary()["p99_ms"] if half else None,
        "shed_share_at_twice_the_knee": refused["shed_share"] if refused else None,
        "failed_at_twice_the_knee": float(refused["failed"]) if refused else None,
        "recovered_s": found.recovered_s,
        "start_to_ready_s": ready_s,
    }


def medians(rounds: Sequence[Measured]) -> Measured:
    """Figure by figure, of the rounds that have it."""
    names = rounds[0]
    kept = {name: [value for each in rounds if (value := each[name]) is not None] for name in names}
    return {name: statistics.median(values) if values else None for name, values in kept.items()}


def ratios(measured: Mapping[str, Measured]) -> dict[str, dict[str, Any]]:
    """Each of ours against each of the others: throughput as ours / theirs, times as theirs / ours; above 1 we lead."""
    ours = [name for name in measured if name.startswith(OURS)]
    return {
        f"{our} : {name}": {
            "rps_at_16": _ratio(measured[our]["rps_at_16"], other["rps_at_16"]),
            **{
                time: _ratio(other[time], measured[our][time])
                for time in ("p50_ms_at_1", "p99_ms_at_half_knee", "start_to_ready_s")
            },
        }
        for our in ours
        for name, other in measured.items()
        if name not in ours
    }


def _ratio(above: float | None, below: float | None) -> float | None:
    return round(above / below, 3) if above is not None and below else None
