from __future__ import annotations

import operator
import os
from functools import partial
from pathlib import Path

import pytest

from training.errors import EvaluationError
from training.workers import RETRIES, Processes

JOBS = [partial(operator.mul, place, 10) for place in range(3)]


def die_once(place: int, folder: Path) -> int:
    """Ends its process without a word, the first time; gives its place the second."""
    marker = folder / f"died-{place}"
    if not marker.exists():
        marker.touch()
        os._exit(1)
    return place


def test_two_processes_give_what_one_gives_and_pass_errors_on() -> None:
    with Processes(1) as one, Processes(2) as two:
        assert sorted(one.run(JOBS)) == sorted(two.run(JOBS)) == [(0, 0), (1, 10), (2, 20)]
        assert list(two.run([os.getpid], gpu=True)) == [(0, os.getpid())]
        with pytest.raises(ZeroDivisionError):
            list(two.run([partial(operator.floordiv, 1, 0)]))


def test_what_a_process_that_dies_was_at_is_begun_anew(tmp_path: Path) -> None:
    with Processes(2) as two:
        found = sorted(two.run([*JOBS, partial(die_once, 7, tmp_path)]))
        assert found == [(0, 0), (1, 10), (2, 20), (3, 7)]
        with pytest.raises(EvaluationError, match=f"died {RETRIES + 1} times"):
            list(two.run([partial(os._exit, 1)]))
