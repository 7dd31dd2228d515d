from __future__ import annotations

import operator
from functools import partial

import pytest

from training.workers import Workers

JOBS = [partial(operator.mul, place, 10) for place in range(3)]


def test_two_processes_give_what_one_gives_and_pass_errors_on() -> None:
    with Workers(1) as one, Workers(2) as two:
        assert sorted(one.run(JOBS)) == sorted(two.run(JOBS)) == [0, 10, 20]
        with pytest.raises(ZeroDivisionError):
            list(two.run([partial(operator.floordiv, 1, 0)]))
