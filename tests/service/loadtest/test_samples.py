"""What a stage says of its requests."""

from __future__ import annotations

import pytest

from service.loadtest.samples import Sample, Stage


def ok(latency_ms: float, **stages_ms: float) -> Sample:
    return Sample(0.0, latency_ms, latency_ms, 200, stages_ms=stages_ms or None)


def refused(status: int, failure: str = "") -> Sample:
    return Sample(0.0, 9999.0, 9999.0, status, failure)


def test_rates_and_percentiles_are_those_of_the_results() -> None:
    samples = [ok(float(ms)) for ms in range(1, 101)] + [refused(429), refused(503), refused(500), refused(0, "Gone")]
    summary = Stage("load", 2.0, samples, users=4).summary()
    assert summary["achieved_rps"] == 50
    assert summary["offered_rps"] == 52
    assert (summary["p50_ms"], summary["p90_ms"], summary["p95_ms"], summary["p99_ms"]) == (50, 90, 95, 99)
    assert (summary["shed"], summary["failed"]) == (2, 2)
    assert summary["failures"] == {"Gone": 1}


@pytest.mark.parametrize(("count", "p999_ms"), [(9_999, None), (10_000, 9_990.0)])
def test_the_last_thousandth_takes_ten_thousand_results(count: int, p999_ms: float | None) -> None:
    summary = Stage("load", 1.0, [ok(float(ms)) for ms in range(1, count + 1)]).summary()
    assert summary["p999_ms"] == p999_ms


def test_without_a_result_there_are_no_percentiles() -> None:
    summary = Stage("load", 0.5, [refused(503)], rate=7.0).summary()
    assert summary["p50_ms"] is None
    assert (summary["achieved_rps"], summary["shed_share"]) == (0, 1)
    assert (summary["intended_rps"], summary["offered_rps"]) == (7, 2)


def test_results_that_came_after_the_stage_do_not_make_it_faster() -> None:
    late = Stage("load", 1.0, [Sample(0.5, 3500.0, 3500.0, 200)] * 8, rate=8.0)
    assert late.achieved_rps == 2


def test_what_the_servers_stages_leave_is_rest_and_what_it_did_not_see_is_outside() -> None:
    stage = Stage("load", 1.0, [ok(10.0, decode=1.0, classify=3.0, total=6.0)])
    assert stage.summary()["stages_p50_ms"] == {"decode": 1.0, "classify": 3.0, "rest": 2.0, "outside": 4.0}
