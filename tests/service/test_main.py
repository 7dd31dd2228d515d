"""`python -m service` and `python -m service.benchmark`, as an operator meets them."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from service import benchmark
from service.__main__ import Server, main
from service.manifest import sha256
from service.settings import Settings
from service.state import ServiceState

ROOT = Path(__file__).parents[2]


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "service", "--port", "0", "--device", "cpu", "--threads", "1", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def serving(models_dir: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running server and its address."""
    process = start("--models-dir", str(models_dir), **environment)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "running on" in line:
                yield process, line.split("running on ")[1].split()[0]
                return
        raise AssertionError(f"the server ended with {process.wait()}")
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def wait_for(url: str, wanted: int) -> None:
    deadline = time.monotonic() + 20
    while status(url) != wanted:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_it_serves_drains_at_sigterm_and_ends_well(models_dir: Path) -> None:
    with serving(models_dir, PURIFIER_DRAIN_S="0.5") as (process, url):
        wait_for(f"{url}/readyz", 200)
        process.send_signal(signal.SIGTERM)
        wait_for(f"{url}/readyz", 503)
        assert status(f"{url}/samples") == 200
        # Uvicorn raises the signal again at the end, as a well-behaved process does.
        assert process.wait(20) in {0, -signal.SIGTERM}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--port", "99999"], "port is '99999'; input should be less than or equal to 65535"),
        (["--device", "tpu"], "device is 'tpu'; input should be 'auto', 'cpu' or 'cuda'"),
        (["--host", "0.0.0.0"], "there are no API keys: set PURIFIER_API_KEYS_FILE"),
        (["--threads", "none"], "threads is 'none'; allowed: a whole number"),
        (["--host", "0.0.0.0", "--port", "1.0"], "port is '1.0'; allowed: a whole number"),
    ],
)
def test_a_refused_setting_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("PURIFIER_ATTACKS", "maybe", "service: attacks is 'maybe'; allowed: true or false\n"),
        ("PURIFIER_OTEL", "maybe", "service: otel is 'maybe'; allowed: true or false\n"),
        ("PURIFIER_MAX_BATCH", "1_0", "service: max_batch is '1_0'; allowed: a whole number\n"),
        ("PURIFIER_RATE_LIMTI", "1", "service: 'PURIFIER_RATE_LIMTI' is no setting; allowed: PURIFIER_RATE_LIMIT\n"),
        ("purifier_api_key", "", "service: 'purifier_api_key' is no setting; allowed: PURIFIER_API_KEYS"),
    ],
)
def test_a_refused_variable_is_one_sentence(
    variable: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, value)
    assert main(["--host", "0.0.0.0"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(sentence)
    assert error.count("\n") == 1


def test_what_is_there_before_the_first_request_is_kept_from_the_garbage_collector(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen: list[int] = []
    monkeypatch.setattr(Server, "run", lambda _: frozen.append(gc.get_freeze_count()))
    try:
        assert main(["--models-dir", str(models_dir), "--port", "0"]) == 0
    finally:
        gc.unfreeze()
    assert frozen[0] > 10_000


def test_models_that_cannot_be_loaded_end_it_with_one_sentence(tmp_path: Path) -> None:
    process = start("--models-dir", str(tmp_path), "--port", "0")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "Traceback" not in output
    sentence = f"service: {tmp_path}/manifest.json does not exist; give the folder that holds manifest.json"
    assert output.splitlines()[-1] == sentence


def test_a_file_that_is_not_the_manifests_ends_it_with_one_sentence(models_dir: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(models_dir, tmp_path / "models")
    weights = next(folder.glob("mnist/*.bin"))
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    process = start("--models-dir", str(folder), "--port", "0")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "Traceback" not in output
    last = output.splitlines()[-1]
    assert last.startswith(f"service: {weights} has SHA-256 ")
    assert last.endswith("; restore the file")


def test_a_graph_that_does_not_open_ends_it_with_one_sentence(models_dir: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models_dir, tmp_path / "models"))
    graph, content = folder / "mnist/mnist-classifier.onnx", (folder / "manifest.json").read_text()
    whole = sha256(graph)
    graph.write_bytes(graph.read_bytes()[:100])
    (folder / "manifest.json").write_text(content.replace(whole, sha256(graph)))
    process = start("--models-dir", str(folder), "--port", "0")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "Traceback" not in output
    refused = "service: graph 'mnist-classifier' cannot be opened: ONNX Runtime refuses it; the server's log says more"
    assert output.splitlines()[-1] == refused


def test_an_address_that_is_taken_ends_it_with_a_sentence(models_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = start("--models-dir", str(models_dir), "--port", str(taken.getsockname()[1]))
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "address already in use" in output
    assert "Traceback" not in output


def test_a_number_of_workers_for_other_servers_is_not_read(models_dir: Path) -> None:
    with serving(models_dir, WEB_CONCURRENCY="two") as (_, url):
        assert status(f"{url}/healthz") == 200


def test_a_second_sigterm_ends_the_draining() -> None:
    state = ServiceState(Settings(drain_s=300))
    server = Server(uvicorn.Config(lambda: None), state)
    server.handle_exit(signal.SIGTERM, None)
    assert state.draining
    assert not server.should_exit
    server.handle_exit(signal.SIGTERM, None)
    assert server.should_exit


def test_without_time_to_drain_it_ends_at_once() -> None:
    state = ServiceState(Settings())
    server = Server(uvicorn.Config(lambda: None), state)
    server.handle_exit(signal.SIGTERM, None)
    assert state.draining
    assert server.should_exit


def test_the_benchmark_prints_a_table_and_ends_in_json(models_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--models-dir", str(models_dir), "--device", "cpu", "--repeats", "2"]) == 0
    *table, last = capsys.readouterr().out.splitlines()
    rows = json.loads(last)["rows"]
    # batches x (three stages of two purifiers of mnist and one of fashion-mnist, and one of another classifier)
    assert len(rows) == 2 * (3 * 3 + 1)
    assert {row["dataset"] for row in rows} == {"mnist", "fashion-mnist"}
    assert "per_image_ms" in table[0]


def test_the_benchmark_refuses_a_folder_without_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--models-dir", str(tmp_path)]) == 2
    assert "manifest.json does not exist" in capsys.readouterr().err
