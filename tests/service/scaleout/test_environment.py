"""What Ray is told through its environment is what the settings say, in names that Ray knows."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from service.scaleout import answers
from service.scaleout.environment import MIDDLEWARES, environment, main
from service.settings import Settings

SETTINGS = Settings(header_timeout_s=7.5, attack_timeout_s=60, drain_s=5)


def test_the_settings_are_in_it() -> None:
    told = environment(SETTINGS)
    assert told["RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"] == "8"
    assert int(told["RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S"]) > 2 * 60
    assert told["RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"] == "5"


def test_it_is_printed_for_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0
    assert "export RAY_SERVE_HAPROXY_RETRY_ON='conn-failure empty-response'\n" in capsys.readouterr().out


def test_a_refused_setting_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PURIFIER_PORT", "abc")
    assert main() == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("service.scaleout.environment: port is 'abc'; ")
    assert printed.err.count("\n") == 1


def test_nothing_is_reported_and_strangers_are_not_obeyed_or_believed() -> None:
    told = environment(SETTINGS)
    assert told["RAY_USAGE_STATS_ENABLED"] == "0"
    assert told["RAY_AUTH_MODE"] == "token"
    assert told["FORWARDED_ALLOW_IPS"] == ""


def test_ray_serve_reads_every_one_of_its_variables() -> None:
    ray = importlib.util.find_spec("ray")
    assert ray is not None
    assert ray.origin is not None
    constants = (Path(ray.origin).parent / "serve" / "_private" / "constants.py").read_text()
    names = [name for name in environment(SETTINGS) if name.startswith("RAY_SERVE_")]
    assert len(names) > 5
    assert [name for name in names if f'"{name}"' not in constants] == []


def test_the_middlewares_are_where_ray_is_told_to_look() -> None:
    module, _, name = MIDDLEWARES.partition(":")
    assert (module, name) == (answers.__name__, answers.middlewares.__name__)
