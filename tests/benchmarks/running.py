"""Starts a contestant, waits for its first answer, and ends it with all of its processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from tests.benchmarks.contestants import ROOT, Contestant

_START_S = 120.0
# A dozen processes of Ray take seconds to say goodbye.
_END_S, _PAUSE_S = 30.0, 0.5


class StartError(Exception):
    """A contestant did not come up; the message ends with the last line that it wrote."""


@contextmanager
def running(contestant: Contestant, picture: bytes) -> Iterator[tuple[str, float]]:
    """Its URL, and the seconds from its start to its first answer to a picture.

    Raises:
        StartError: it ended, or did not answer within two minutes.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    variables = {"PORT": str(port), "BENTOML_PORT": str(port), "PURIFIER_PORT": str(port), **contestant.environment}
    with tempfile.TemporaryFile("w+") as log:
        began = time.perf_counter()
        process = subprocess.Popen(
            [contestant.python, *contestant.command],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait(contestant, process, url, picture, began + _START_S)
            yield url, time.perf_counter() - began
        except StartError as error:
            log.seek(0)
            raise StartError(f"{error}: {(log.read().strip().splitlines() or ['it wrote nothing'])[-1]}") from None
        finally:
            _end(process)


def _wait(contestant: Contestant, process: subprocess.Popen[bytes], url: str, picture: bytes, deadline: float) -> None:
    body, content_type = contestant.body(picture)
    answer = "no connection"
    with httpx.Client(base_url=url, timeout=30) as client:
        while time.perf_counter() < deadline:
            if process.poll() is not None:
                raise StartError(f"it ended with {process.returncode}")
            try:
                found = client.post(contestant.path, content=body, headers={"Content-Type": content_type})
            except httpx.HTTPError as error:
                answer = type(error).__name__
            else:
                if found.is_success:
                    return
                answer = str(found.status_code)
            time.sleep(0.02)
    raise StartError(f"no answer to a picture within {_START_S:.0f} s, the last was {answer}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Its whole session: some leave workers behind when only the parent is told, or not in its group."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in _session(process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        time.sleep(_PAUSE_S)
    process.wait()


def _session(leader: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(ProcessLookupError):
            if entry.name.isdecimal() and os.getsid(int(entry.name)) == leader:
                found.append(int(entry.name))
    return found
