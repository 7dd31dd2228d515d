"""Starts the service as a user does, and stops it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
READY_S = 180  # on a machine that has much else to do


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


def start(*arguments: str, port: int = 0, settings: Mapping[str, str] | None = None) -> Service:
    """A service on CPU, ready for requests; port 0 lets the system choose. `settings` are environment variables."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PURIFIER_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "--port", str(port), "--device", "cpu", *arguments],
        cwd=ROOT,
        env={**environment, **(settings or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    service = Service("", process)
    try:
        service = Service(_address(process), process)
        service.wait_until_ready()
    except BaseException:
        service.stop()
        raise
    return service


def _address(process: subprocess.Popen[str]) -> str:
    """Where the process says that it listens."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        if "running on" in line:
            return line.split("running on ")[1].split()[0]
        lines.append(line)
    raise AssertionError(f"the server ended with {process.wait()}: {''.join(lines)}")


@contextmanager
def running(*arguments: str, **settings: str) -> Iterator[Service]:
    """A service for a while."""
    service = start(*arguments, settings=settings)
    try:
        yield service
    finally:
        service.stop()
