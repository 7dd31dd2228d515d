"""A client may ask so often a minute, evenly; the memory of clients is bounded."""

from __future__ import annotations

from service.rates import RateLimits, Standing


class Clock:
    """A clock that stands until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_full_bucket_is_spent_and_refills_evenly() -> None:
    clock = Clock()
    rates = RateLimits(6, clock)
    assert [rates.take("a").remaining for _ in range(6)] == [5, 4, 3, 2, 1, 0]
    assert rates.take("a") == Standing(allowed=False, remaining=0, reset_s=10)
    clock.now += 4
    assert rates.take("a") == Standing(allowed=False, remaining=0, reset_s=6)
    clock.now += 6
    assert rates.take("a").allowed
    assert not rates.take("a").allowed


def test_who_waits_as_long_as_told_is_let_in() -> None:
    clock = Clock()
    rates = RateLimits(7, clock)
    while (standing := rates.take("a")).allowed:
        clock.now += 0.3
    clock.now += standing.reset_s
    assert rates.take("a").allowed


def test_a_bucket_does_not_overflow() -> None:
    clock = Clock()
    rates = RateLimits(3, clock)
    rates.take("a")
    clock.now += 10_000
    assert rates.take("a").remaining == 2


def test_clients_do_not_spend_each_others() -> None:
    rates = RateLimits(1, Clock())
    assert rates.take("a").allowed
    assert rates.take("b").allowed
    assert not rates.take("a").allowed


def test_past_the_bound_the_one_that_asked_least_lately_is_forgotten() -> None:
    rates = RateLimits(1, Clock(), max_clients=2)
    for client in ("a", "b", "a", "c"):
        rates.take(client)
    assert not rates.take("a").allowed
    assert rates.take("b").allowed
