"""What happens around replicas while they are loaded: how many listen, what they hold, one that is killed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from service.loadtest.samples import Stage

# Where Ray lets its replicas listen.
_PORTS = range(30_000, 31_000)
_LISTENS = "0A"
_KIB = 1024
_POLL_S = 0.1


def listening() -> int:
    """Replicas that take requests."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(row[1].split(":")[1], 16) in _PORTS for row in rows if row[3] == _LISTENS)


def kill_one() -> float:
    """Kill a replica, and its moment on `time.perf_counter`."""
    replicas = [pid for pid in _processes() if _command(pid).startswith(b"ray::ServeReplica")]
    os.kill(replicas[0], signal.SIGKILL)
    return time.perf_counter()


def wait_for(replicas: int, limit_s: float) -> float | None:
    """The moment from which so many listen; None where that takes longer."""
    deadline = time.perf_counter() + limit_s
    while time.perf_counter() < deadline:
        if listening() == replicas:
            return time.perf_counter()
        time.sleep(_POLL_S)
    return None


def held_mib(words: tuple[bytes, ...]) -> float:
    """Memory of all processes whose command holds one of these words; what several share is divided among them."""
    return sum(_held_kib(pid) for pid in _processes() if any(word in _command(pid) for word in words)) / _KIB


def rate(stage: Stage, begin_s: float, end_s: float) -> float:
    """Results a second of the requests that were sent between two moments of a stage."""
    return sum(sample.answered and begin_s <= sample.due_s < end_s for sample in stage.samples) / (end_s - begin_s)


def failed(stage: Stage) -> list[float]:
    """The moments of a stage at which requests were sent that got no answer or a 5xx."""
    return sorted(sample.due_s for sample in stage.samples if not sample.answered)


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _held_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
