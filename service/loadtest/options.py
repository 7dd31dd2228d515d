"""The command line of `python -m service.loadtest`."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable
from pathlib import Path

from service.errors import shortened
from service.loadtest.errors import TargetError
from service.loadtest.plan import Plan

_SWEEP = (1, 2, 4, 8, 16, 32, 64)
_MOST_USERS = 1000
_WARM_UP_S = 2.0
_MOST = 2**32 - 1
# Else it could name another host, which nobody allowed to be loaded.
_PATH = re.compile(r"/(?!/)[!-~]*")
# What a soak does not ask for, and what nothing else does.
_WITHOUT_SOAK = ("path", "no_op", "image", "users", "seconds", "seed", "html")
_WITH_SOAK = ("hostile_rate", "terminate")


def parser() -> argparse.ArgumentParser:
    """All options; without any the whole course runs: every number of users, the knee, twice the knee, recovery."""
    made = argparse.ArgumentParser(
        prog="python -m service.loadtest",
        description="Load a running service and report its latency, its knee, and how it sheds and recovers. "
        "A table and a last line of JSON go to stdout, the progress to stderr; Ctrl-C keeps what was measured.",
    )
    made.add_argument("url", help="of the service: http://127.0.0.1:8000")
    made.add_argument(
        "--path", type=_path, default="/classify", help="what gets the pictures by POST (default /classify)"
    )
    made.add_argument("--no-op", type=_path, default="/healthz", help="what shows the generator's own limit, by GET")
    made.add_argument("--image", type=Path, action="append", help="a PNG or JPEG to send; default: shipped samples")
    made.add_argument(
        "--users", type=_whole(1, _MOST_USERS), nargs="+", help=f"closed loops (default {' '.join(map(str, _SWEEP))})"
    )
    made.add_argument(
        "--rate", type=_positive, nargs="+", default=[], help="open loops of so many requests a second, and no others"
    )
    made.add_argument("--seconds", type=_positive, default=5.0, help="of each stage (default 5)")
    made.add_argument("--warm-up", type=_positive, help="seconds that are not counted (default 2, of a soak 30)")
    made.add_argument("--timeout", type=_positive, default=30.0, help="seconds a request may take (default 30)")
    made.add_argument("--seed", type=_whole(0, _MOST), default=0, help="of the arrivals (default 0)")
    made.add_argument("--html", type=_report, help="write the report with the curve to this file")
    made.add_argument(
        "--soak",
        type=_positive,
        help="instead: so many minutes of one --rate and of hostile requests; every answer is compared with the one "
        "given before, the memory is watched, and the status is 1 where something is not as it must be",
    )
    made.add_argument(
        "--hostile-rate", type=_positive, default=4.0, help="hostile requests a second of a soak (default 4)"
    )
    made.add_argument(
        "--terminate", type=_process, metavar="PID", help="the service's, which gets SIGTERM under load after a soak"
    )
    made.add_argument("--allow-remote", action="store_true", help="load another host, whose owner agrees")
    return made


def check_together(chosen: argparse.Namespace) -> None:
    """Nothing was given that would be left out.

    Raises:
        TargetError: something was.
    """
    asked, idle = ("without", _WITH_SOAK) if chosen.soak is None else ("with", _WITHOUT_SOAK)
    defaults = parser()
    given = [f"--{name.replace('_', '-')}" for name in idle if getattr(chosen, name) != defaults.get_default(name)]
    if given:
        allowed = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
        other = "with" if asked == "without" else "without"
        raise TargetError(f"{', '.join(given)} was given {asked} --soak; only {other} it are allowed: {allowed}")


def plan(chosen: argparse.Namespace) -> Plan:
    """With users or rates given these alone; the overload follows closed loops unless rates were given."""
    users = chosen.users or (() if chosen.rate else _SWEEP)
    return Plan(
        users=tuple(sorted(set(users))),
        rates=tuple(chosen.rate),
        seconds=chosen.seconds,
        warm_up_s=chosen.warm_up or _WARM_UP_S,
        calibration_s=min(1.0, chosen.seconds),
        overload=not chosen.rate,
        seed=chosen.seed,
    )


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        readable = text.isascii() and text.isdecimal() and len(text) <= len(str(most))
        if not (readable and least <= int(text) <= most):
            raise _refused(text, f"whole numbers from {least} to {most}")
        return int(text)

    return read


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise _refused(text, "numbers above 0")
    return value


def _path(text: str) -> str:
    if not _PATH.fullmatch(text):
        raise _refused(text, "a path of the target that begins with one /, in ASCII without spaces")
    return text


def _report(text: str) -> Path:
    file = Path(text)
    if file.is_dir() or not file.parent.is_dir():
        raise _refused(text, "a file in a folder that exists")
    return file


def _process(text: str) -> int:
    """Numbers below 1 are refused before they are asked for: to the system they stand for many processes."""
    number = _whole(1, _MOST)(text)
    try:
        os.kill(number, 0)
    except (OSError, OverflowError) as error:
        raise _refused(text, "the number of a running process that may be sent a signal") from error
    return number


def _refused(text: str, allowed: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"{shortened(text)} was given; allowed: {allowed}")
