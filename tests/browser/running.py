"""Starts the service as a user does, and stops it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
READY_S = 60


@dataclass(frozen=True)
class Service:
    """A service that runs."""

    url: str
    process: subprocess.Popen[str]

    def ask(self, path: str, data: bytes | None = None, **headers: str) -> Any:
        """The JSON of an answer; POST where there is `data`."""
        request = urllib.request.Request(f"{self.url}/{path}", data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while not self._ready():
            assert time.monotonic() < deadline, f"not ready within {READY_S} s"
            time.sleep(0.05)

    def _ready(self) -> bool:
        try:
            self.ask("readyz")
        except urllib.error.HTTPError as error:
            error.close()
            return False
        return True


def start(*arguments: str, port: int = 0) -> Service:
    """A service on CPU, ready for requests; port 0 lets the system choose."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PURIFIER_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "--port", str(port), "--device", "cpu", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "running on" in line:
            service = Service(line.split("running on ")[1].split()[0], process)
            service.wait_until_ready()
            return service
    raise AssertionError(f"the server ended with {process.wait()}")


@contextmanager
def running(*arguments: str) -> Iterator[Service]:
    """A service for a while."""
    service = start(*arguments)
    try:
        yield service
    finally:
        service.stop()
