"""A service that is started here ends here, also where it never becomes ready."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.browser import running


def test_a_service_that_is_not_ready_in_time_leaves_no_process(tiny_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []

    class Recorded(subprocess.Popen[str]):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)  # type: ignore[call-overload]
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    monkeypatch.setattr(running, "READY_S", -1)
    monkeypatch.setattr(running.Service, "_ready", lambda _: False)
    with pytest.raises(AssertionError, match="not ready within"):
        running.start("--models-dir", str(tiny_dir))
    assert [process.poll() is not None for process in started] == [True]


def test_a_service_that_cannot_start_says_why() -> None:
    with pytest.raises(AssertionError, match=r"the server ended with 2: .*'tpu'"):
        running.start("--device", "tpu")
