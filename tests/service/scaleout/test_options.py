"""How many replicas there are, what each of them gets, and what is refused before anything is started."""

from __future__ import annotations

import math
import socket
from pathlib import Path
from typing import Any

import pytest

from service.errors import StartupError
from service.scaleout.__main__ import main
from service.scaleout.options import Scale, parsed
from service.scaleout.replicas import application, options, shared
from service.settings import Settings


def test_the_command_line_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PURIFIER_PORT", "8001")
    monkeypatch.setenv("PURIFIER_DRAIN_S", "5")
    scale, settings = parsed(["--replicas", "3", "--cpus", "0.5", "--port", "8002"])
    assert (scale.replicas, scale.max_replicas, scale.cpus, scale.gpus) == (3, None, 0.5, 0)
    assert (settings.port, settings.drain_s) == (8002, 5)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--replicas", "0"], "replicas is '0'; input should be greater than or equal to 1"),
        (["--replicas", "1.0"], "replicas is '1.0'; allowed: a whole number"),
        (
            ["--replicas", "3", "--max-replicas", "2"],
            "service.scaleout: max_replicas is 2; allowed: at least the 3 replicas",
        ),
        (["--cpus", "nan"], "cpus is 'nan'; input should be a finite number"),
        (["--gpus", "2"], "gpus is '2'; input should be less than or equal to 1"),
        (["--replicas", "9999", "--cpus", "256"], "replicas is '9999'"),
        (["--replicas", "1000", "--cpus", "256"], "1000 replicas of 256 CPUs want 256000; allowed: the "),
        (["--port", "0"], "port is 0; allowed: 1 to 65535"),
        (["--host", "0.0.0.0"], "there are no API keys: set PURIFIER_API_KEYS_FILE"),
    ],
)
def test_a_refusal_is_one_sentence(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cpus", "0.5", *arguments]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_no_option_is_advised_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cpus", "0.5", "--host", "nosuch.invalid"]) == 2
    error = capsys.readouterr().err
    assert "set PURIFIER_ALLOW_ANONYMOUS=true" in error
    assert "--allow-anonymous" not in error


def test_models_that_are_not_there_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PURIFIER_MODELS_DIR", str(tmp_path))
    assert main(["--cpus", "0.5"]) == 2
    assert "manifest.json does not exist" in capsys.readouterr().err


def test_an_address_that_is_taken_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["--cpus", "0.5", "--port", str(taken.getsockname()[1])]) == 2
    assert "in use" in capsys.readouterr().err


def test_on_a_cluster_it_is_taken_to_be_open_unless_somebody_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartupError, match=r"host is 0\.0\.0\.0.*no API keys"):
        application({})
    monkeypatch.setenv("PURIFIER_HOST", "10.0.0.1")
    with pytest.raises(StartupError, match=r"host is 10\.0\.0\.1.*no API keys"):
        application({})


def test_each_replica_has_its_part() -> None:
    limited = Settings(rate_limit=600)
    assert shared(limited, Scale(replicas=2, cpus=1.5)).rate_limit == 300
    assert shared(limited, Scale(replicas=2, max_replicas=7)).rate_limit == math.ceil(600 / 7)
    assert shared(Settings(), Scale()).rate_limit == 0
    assert shared(Settings(), Scale(cpus=0.5)).threads == 1
    assert shared(Settings(), Scale(cpus=3)).threads == 3
    assert shared(Settings(threads=2), Scale(cpus=3)).threads == 2
    assert shared(Settings(), Scale(gpus=0.25)).device == "cuda"
    assert shared(Settings(), Scale()).device == "auto"


def test_ray_is_told_what_the_settings_say() -> None:
    fixed: dict[str, Any] = options(Settings(drain_s=5, shutdown_timeout_s=20), Scale(replicas=3, cpus=2, gpus=0.25))
    assert fixed["num_replicas"] == 3
    assert fixed["ray_actor_options"] == {"num_cpus": 2, "num_gpus": 0.25}
    assert fixed["graceful_shutdown_timeout_s"] == 25
    growing = options(Settings(), Scale(replicas=2, max_replicas=8))
    assert growing["num_replicas"] == "auto"
    assert (growing["autoscaling_config"]["min_replicas"], growing["autoscaling_config"]["max_replicas"]) == (2, 8)
