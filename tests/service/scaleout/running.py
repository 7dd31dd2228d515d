"""Starts `python -m service.scaleout`, watches its processes, and leaves none behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.deployment.running import free_port

ROOT = Path(__file__).parents[3]
_ATTEMPTS = 3
# What a busy machine may need for a dozen processes to start; a free one takes a tenth.
_PATIENCE_S = 240
# Everything that Ray's processes import, so that they find it compiled.
_IMPORTS = "ray.serve, ray.dashboard.agent, ray.dashboard.dashboard, ray._private.runtime_env.agent.main, service.app"
_RAYS_LIMIT = "timed out during startup"


@dataclass(frozen=True)
class Scaled:
    """A running server of several replicas."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def runs_or_ended(self) -> bool:
        """Whether it has said that it runs, or will never say so."""
        return "replicas running on" in self.log.read_text() or self.process.poll() is not None

    def replicas(self) -> set[int]:
        """The process ids of its replicas."""
        return {pid for pid in self.processes() if _command(pid).startswith(b"ray::ServeReplica")}

    def processes(self) -> set[int]:
        """Its own process id and those of all that descend from it."""
        return _descendants(self.process.pid)


@contextmanager
def scaled(models_dir: Path, **environment: str) -> Iterator[Scaled]:
    """Two replicas; started anew where Ray gave up, as it does on a machine so busy that its agents take 15 s."""
    # In /tmp, since the paths of sockets must be short.
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    started: list[Scaled] = []
    try:
        variables = _variables(folder, models_dir) | environment
        subprocess.run([sys.executable, "-c", f"import {_IMPORTS}"], cwd=ROOT, env=variables, check=True, timeout=180)
        while not started or (len(started) < _ATTEMPTS and _RAYS_LIMIT in started[-1].log.read_text()):
            started.append(_started(folder / f"log-{len(started)}", variables))
            assert within(_PATIENCE_S, started[-1].runs_or_ended), started[-1].log.read_text()
        assert started[-1].process.poll() is None, started[-1].log.read_text()
        yield started[-1]
    finally:
        for server in started:
            end(server.processes())
            server.process.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


def _variables(folder: Path, models_dir: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    ports = ("RAY_SERVE_HAPROXY_METRICS_PORT", "RAY_SERVE_HAPROXY_STATS_PORT", "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT")
    return {
        "PYTHONPYCACHEPREFIX": str(folder / "compiled"),
        **inherited,
        "RAY_TMPDIR": str(folder),
        "PURIFIER_MODELS_DIR": str(models_dir),
        "PURIFIER_DEVICE": "cpu",
        "PURIFIER_PORT": str(free_port()),
        **{name: str(free_port()) for name in ports},
    }


def _started(log: Path, variables: dict[str, str]) -> Scaled:
    with log.open("wb") as output:
        command = [sys.executable, "-m", "service.scaleout", "--replicas", "2", "--cpus", "0.5"]
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=output, stderr=output)
    return Scaled(process, f"http://127.0.0.1:{variables['PURIFIER_PORT']}", log)


def within(limit_s: float, condition: Callable[[], bool]) -> bool:
    """Whether it came true in that time."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def end(processes: set[int]) -> None:
    """Kill what still runs of these."""
    for pid in processes:
        if lives(pid):
            os.kill(pid, signal.SIGKILL)


def lives(pid: int) -> bool:
    """Whether a process runs; a zombie does as long as one of its threads holds on to its sockets."""
    process = Path(f"/proc/{pid}")
    try:
        state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" or len(list((process / "task").iterdir())) > 1
    except OSError:
        return False


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _descendants(root: int) -> set[int]:
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found
