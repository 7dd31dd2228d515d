"""`python -m service.loadtest --soak`: a sound service passes, and what is not as it must be is told."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Response

from service.loadtest.__main__ import main
from service.loadtest.questions import Question
from service.loadtest.sending import connections
from service.loadtest.soak import Soak
from service.loadtest.tally import Tally
from tests.service.loadtest.test_command import last_line, served
from tests.service.test_main import serving, wait_for

OK, CHECKED = 200, {"retry-after": "1"}


def test_a_sound_service_passes_and_ends_without_losing_a_request(
    models_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fast = {"PURIFIER_DRAIN_S": "2", "PURIFIER_HEADER_TIMEOUT_S": "1"}
    with serving(models_dir, **fast) as (process, url):
        wait_for(f"{url}/readyz", 200)
        load = ["--soak", "0.07", "--rate", "20", "--hostile-rate", "8", "--warm-up", "1"]
        main([url, *load, "--terminate", str(process.pid)])
        process.wait(20)
    printed = capsys.readouterr().out
    found = json.loads(printed.splitlines()[-1])
    # So short a run says nothing of the memory.
    assert [fault for fault in found["faults"] if "memory" not in fault] == []
    assert found["answered"] > 30
    assert len(found["hostile"]) == 20
    assert found["slow_clients_held_s"] >= 1
    assert found["memory_growth"] is not None
    assert (found["left_after_sigterm"], found["ended_s"] is None) == (8, False)
    assert "after SIGTERM" not in printed


def forgetful_app() -> FastAPI:
    """Answers what it is asked alone as it should; under load one answer in ten is another, and one in ten fails."""
    app = FastAPI()
    counts = itertools.count()

    @app.get("/samples/{dataset}/{index}")
    @app.post("/purify")
    async def sample() -> Response:
        return Response(b"picture", media_type="image/png")

    @app.get("/v2")
    async def models() -> dict[str, Any]:
        return {"models": ["m"]}

    @app.post("/v2/models/m/infer")
    async def infer() -> dict[str, Any]:
        return {"outputs": [1]}

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(f"process_resident_memory_bytes {1e8 * (1 + time.monotonic() % 100)}\n")

    @app.post("/classify")
    async def classify() -> Response:
        count = next(counts)
        status = 500 if count > 30 and count % 10 == 0 else 200
        label = 4 if count > 30 and count % 10 == 5 else 3
        told = {"label": label, "timings_ms": {"total": count}}
        return Response(json.dumps(told), status, media_type="application/json")

    return app


def test_wrong_answers_failures_and_hostile_requests_that_get_by_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    with served(forgetful_app()) as url:
        load = ["--soak", "0.03", "--rate", "60", "--hostile-rate", "20", "--warm-up", "1", "--timeout", "2"]
        assert main([url, *load]) == 1
    faults = " ".join(last_line(capsys)["faults"])
    assert "answers were not the known ones" in faults
    assert "× /classify: 500" in faults
    assert "× a bomb: 200" in faults


def test_what_is_shed_is_no_fault_where_it_says_when_to_come_back() -> None:
    tally = Tally(warm_up_s=0, memory=[(float(second), 1e8) for second in range(10)])
    tally.add("/classify", OK, {}, right=True)
    tally.add("/classify", 503, CHECKED, right=False)
    tally.add_hostile("a bomb", 503, frozenset({422}), CHECKED)
    assert tally.faults() == []
    tally.add("/classify", 503, {}, right=False)
    assert tally.faults() == ["1 requests failed: 1 × /classify: 503"]


@pytest.mark.parametrize(
    ("held", "fault"),
    [
        ([100, 100, 101, 102, 104], None),
        ([50, 100, 100, 100, 100], None),  # the warm-up
        ([100, 100, 140, 100, 100], None),  # what is given back
        ([100, 100, 102, 104, 106], "the memory grew by 6.0%; allowed: 5%"),
        ([100, 100], "the memory was not told often enough by /metrics to judge it"),
    ],
)
def test_memory_may_not_keep_growing(held: list[int], fault: str | None) -> None:
    tally = Tally(warm_up_s=5, answered=1)
    tally.memory = [(5.0 * step + second, 1e6 * size) for step, size in enumerate(held) for second in range(5)]
    if len(held) == 2:
        tally.memory = tally.memory[:7]
    assert tally.faults() == ([] if fault is None else [fault])


def test_nothing_answered_and_users_who_were_not_told_to_leave_are_faults() -> None:
    tally = Tally(warm_up_s=0, memory=[(float(second), 1e8) for second in range(10)], users=8, left=7)
    assert tally.faults() == [
        "no request was answered",
        "after SIGTERM 7 of 8 users were told to leave; ended: None",
    ]


def test_a_service_that_ended_before_it_was_told_to_costs_no_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(*_: int) -> None:
        raise ProcessLookupError

    async def end(tally: Tally) -> None:
        async with connections("http://127.0.0.1:1", 1) as client:
            await Soak(client, [Question("/classify", "image/png", b"")], [], tally, patience_s=1).end(1)

    monkeypatch.setattr(os, "kill", ended)
    tally = Tally(warm_up_s=0)
    asyncio.run(end(tally))
    assert tally.left == 0
    assert tally.ended_s is not None
    assert tally.failed.total() == tally.users > 0


@pytest.mark.parametrize("rates", [[], ["--rate", "1", "2"]])
def test_a_soak_has_one_rate(rates: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["http://127.0.0.1:1", "--soak", "1", *rates]) == 2
    assert "rates were given; allowed with --soak: one --rate" in capsys.readouterr().err
