"""`python -m service.loadtest` against a tiny server, as somebody at a terminal meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response

from service.errors import extra_hint
from service.loadtest.__main__ import main

SHORT = ["--seconds", "0.3", "--warm-up", "0.1"]


def tiny_app(shed_every: int | None = None, interrupt_at: int | None = None) -> FastAPI:
    """Answers as the service does, at once; every so-manieth picture is shed, at one of them somebody types Ctrl-C."""
    app = FastAPI()
    app.state.bodies = []

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/samples/mnist/{index}")
    async def sample(index: int) -> Response:
        return Response(b"picture %d" % index, media_type="image/png")

    @app.post("/classify")
    async def classify(request: Request) -> Any:
        app.state.bodies.append(await request.body())
        if len(app.state.bodies) == interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        if shed_every and len(app.state.bodies) % shed_every == 0:
            return Response(status_code=503)
        return {"label": 3, "timings_ms": {"purify": 1.0, "classify": 2.0, "total": 4.0}}

    return app


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(tiny_app()) as url:
        yield url


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_the_whole_course_ends_in_a_table_json_and_a_report(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.html"
    assert main([url, *SHORT, "--users", "2", "1", "--html", str(report)]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out.splitlines()[-1])
    assert [stage["users"] for stage in found["closed"]] == [1, 2]
    names = ["half the knee", "the knee", "twice the knee", "half the knee again"]
    assert [stage["name"] for stage in found["open"]] == names
    assert found["open"][2]["intended_rps"] == pytest.approx(2 * found["knee"]["rps"])
    assert found["calibration"]["achieved_rps"] > 0
    assert "Calibration: this generator gets" in printed.out
    assert "closed loop, users: 1" in printed.err
    assert found["target"] == url + "/classify"
    assert all(name in report.read_text() for name in names)


def test_the_servers_own_timings_are_split_off(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([url, *SHORT, "--users", "1"]) == 0
    (stage,) = last_line(capsys)["closed"]
    assert stage["stages_p50_ms"] | {"outside": 0} == {"purify": 1.0, "classify": 2.0, "rest": 1.0, "outside": 0}


def test_the_given_rates_are_loaded_and_no_others(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([url, *SHORT, "--rate", "40"]) == 0
    found = last_line(capsys)
    assert found["closed"] == []
    assert [(stage["name"], stage["intended_rps"]) for stage in found["open"]] == [("40 a second", 40)]
    assert found["knee"] is None


def test_the_pictures_given_are_sent_in_turn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = tiny_app()
    pictures = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in pictures:
        path.write_bytes(path.name.encode())
    with served(app) as url:
        images = [argument for path in pictures for argument in ("--image", str(path))]
        assert main([url, *SHORT, "--users", "1", *images]) == 0
    assert set(app.state.bodies) == {b"a.png", b"b.png"}
    assert last_line(capsys)["closed"][0]["failed"] == 0


def test_what_is_shed_counts_as_shed_and_not_as_a_result(capsys: pytest.CaptureFixture[str]) -> None:
    with served(tiny_app(shed_every=2)) as url:
        assert main([url, *SHORT, "--rate", "100"]) == 0
    (stage,) = last_line(capsys)["open"]
    assert stage["shed"] > 0
    assert stage["failed"] == 0
    assert stage["shed"] + stage["statuses"]["200"] == stage["requests"]


def test_ctrl_c_keeps_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    with served(tiny_app(interrupt_at=400)) as url:
        assert main([url, "--seconds", "60", "--warm-up", "0.1", "--users", "1"]) == 130
    found = last_line(capsys)
    assert found["interrupted"] is True
    assert found["closed"][0]["requests"] > 0
    assert found["open"] == []


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("http://192.0.2.1:8000", "the target's host is '192.0.2.1'; allowed: localhost and loopback"),
        ("http://127.0.0.1.example", "the target's host is '127.0.0.1.example'"),
        ("127.0.0.1:8000", "the target is '127.0.0.1:8000'; allowed: http://HOST:PORT"),
        ("http://127.0.0.1:port", "the target is 'http://127.0.0.1:port'"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1 does not answer"),
        ("http://user:pw@127.0.0.1:1", "the target is 'http://user:pw@127.0.0.1:1'; allowed: http://HOST:PORT"),
        ("http://127.0.0.1:1?x=1", "the target is 'http://127.0.0.1:1?x=1'; allowed: http://HOST:PORT"),
        ("http://127.0.0.1:1/#x", "the target is 'http://127.0.0.1:1/#x'; allowed: http://HOST:PORT"),
        ("http://127.0.0.1:1\t", "the target is 'http://127.0.0.1:1\\t'; allowed: http://HOST:PORT"),
    ],
)
def test_a_target_that_cannot_be_loaded_is_refused_in_a_sentence(
    target: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([target, *SHORT]) == 2
    error = capsys.readouterr().err
    assert f"service.loadtest: {sentence}" in error
    assert error.count("\n") == 1


def test_a_path_that_takes_no_pictures_is_refused_before_any_load(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([url, "--path", "/nothing"]) == 2
    assert "POST /nothing answers 404" in capsys.readouterr().err


def without_the_extra(argument: str) -> subprocess.CompletedProcess[str]:
    """The command in a process that can import neither of what the extra installs."""
    blocked = "import runpy, sys; sys.modules['httpx'] = sys.modules['httpx_aiohttp'] = None"
    code = f"{blocked}; sys.argv[1:] = [{argument!r}]; runpy.run_module('service.loadtest', run_name='__main__')"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_without_the_extra_it_helps_and_says_what_to_install() -> None:
    helped, refused = without_the_extra("--help"), without_the_extra("http://127.0.0.1:1")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert helped.stdout.startswith("usage: python -m service.loadtest")
    assert refused.returncode == 2
    assert f"httpx and httpx_aiohttp cannot be imported; {extra_hint('loadtest')}\n" in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--terminate", str(os.getpid())], "--terminate was given without --soak; only with it are allowed: --h"),
        (["--soak", "1", "--rate", "9", "--html", "a.html", "--users", "4"], "--users, --html was given with --soak"),
    ],
)
def test_what_would_be_left_out_is_refused(given: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["http://127.0.0.1:1", *given]) == 2
    assert f"service.loadtest: {sentence}" in capsys.readouterr().err


def test_what_was_found_is_told_where_the_report_cannot_be_written(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any, **__: Any) -> int:
        raise OSError("the disk is full")

    monkeypatch.setattr(Path, "write_text", full)
    assert main([url, *SHORT, "--rate", "40", "--html", str(tmp_path / "report.html")]) == 2
    printed = capsys.readouterr()
    assert json.loads(printed.out.splitlines()[-1])["open"]
    assert "service.loadtest: the disk is full" in printed.err


@pytest.mark.parametrize(
    "option",
    [
        "--users=0",
        "--users=many",
        "--users=1_0",
        "--rate=nan",
        "--seconds=-1",
        "--seconds=inf",
        "--seed=-1",
        "--seed=x",
        "--path=http://192.0.2.1/",
        "--path=//192.0.2.1/classify",
        "--path=classify",
        "--path=/a\tb",
        "--no-op=http://192.0.2.1/",
        "--html=/nonexistent/report.html",
        "--html=/",
        "--terminate=-1",
        "--terminate=0",
        "--terminate=all",
        f"--terminate={2**22 + 1}",  # beyond the largest number that Linux gives
        f"--terminate={2**32 - 1}",
    ],
)
def test_what_cannot_be_loaded_written_or_ended_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["http://127.0.0.1:1", option])
    assert refused.value.code == 2
    assert "was given; allowed: " in capsys.readouterr().err
