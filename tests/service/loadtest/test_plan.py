"""The knee and the recovery, from made-up stages."""

from __future__ import annotations

from service.loadtest.plan import Findings, Plan
from service.loadtest.samples import Sample, Stage


def closed(users: int, results: int) -> Stage:
    return Stage(f"{users} users", 1.0, [Sample(0.0, 1.0, 1.0, 200)] * results, users=users)


def arrivals(name: str, *samples: tuple[float, float, int]) -> Stage:
    return Stage(name, 2.0, [Sample(due_s, ms, ms, status) for due_s, ms, status in samples], rate=100)


def test_the_knee_is_the_fewest_users_near_the_most_results() -> None:
    knee = Findings(closed=[closed(1, 50), closed(2, 96), closed(4, 100), closed(8, 97)]).knee
    assert knee is not None
    assert knee.users == 2


def test_without_results_there_is_no_knee() -> None:
    assert Findings().knee is None
    assert Findings(closed=[closed(1, 0)]).knee is None


def test_recovery_is_the_first_of_twenty_arrivals_answered_as_before() -> None:
    before = arrivals("half the knee", (0.0, 5.0, 200), (0.1, 8.0, 200), (0.2, 99.0, 503))
    shed, slow = (0.0, 1.0, 503), (0.2, 8.1, 200)
    well = [(0.3 + index / 100, 8.0, 200) for index in range(20)]
    after = arrivals("half the knee again", shed, (0.1, 5.0, 200), slow, *well)
    assert Findings(open=[before, after]).recovered_s == 0.3
    never = arrivals("half the knee again", shed, slow, *well[:-1])
    assert Findings(open=[before, never]).recovered_s is None


def test_recovery_not_measured_is_none() -> None:
    assert Findings(open=[arrivals("half the knee", (0.0, 5.0, 200))]).recovered_s is None


def test_the_time_planned_is_that_of_all_stages() -> None:
    assert Plan(users=(1, 2), seconds=3, warm_up_s=2, calibration_s=1).total_s == 2 + 1 + (2 + 4) * 3
    assert Plan(users=(), rates=(5.0,), seconds=3, warm_up_s=2, calibration_s=1).total_s == 2 + 1 + 3
