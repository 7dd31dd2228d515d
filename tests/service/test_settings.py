"""Settings come from the environment, and unsafe ones are refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from service.settings import Settings


def test_the_environment_sets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PURIFIER_PORT", "8080")
    monkeypatch.setenv("PURIFIER_THREADS", "")
    assert Settings().port == 8080
    assert Settings().threads is None
    assert Settings(port=1).port == 1


@pytest.mark.parametrize(
    "unsafe",
    [
        {"port": 65536},
        {"port": -1},
        {"host": "not a host"},
        {"host": ""},
        {"device": "tpu"},
        {"threads": 0},
        {"threads": 100_000},
        {"max_body_bytes": 0},
        {"max_body_bytes": 10**12},
        {"body_timeout_s": 0},
        {"body_timeout_s": float("inf")},
        {"workers": 0},
        {"max_waiting": 0},
        {"max_batch": 0},
        {"request_timeout_s": 0},
        {"max_waiting_attacks": 1001},
        {"drain_s": float("nan")},
        {"header_timeout_s": 0},
        {"rate_limit": -1},
        {"cors_origins": "a.example"},
        {"cors_origins": "https://a.example/page"},
        {"unknown": 1},
    ],
)
def test_unsafe_ones_are_refused(unsafe: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(**unsafe)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "localhost", "my-host.example"])
def test_addresses_and_names_are_hosts(host: str) -> None:
    assert str(Settings(host=host).host) == host


def test_the_default_limits_hold_the_largest_picture_and_a_class_of_attackers() -> None:
    raw_16_bit_rgba = 2048 * (1 + 2048 * 4 * 2)  # noise does not compress, and each row has a filter byte
    assert Settings().max_body_bytes >= 1.05 * raw_16_bit_rgba
    assert Settings().max_waiting == 64
    assert Settings().max_waiting_attacks == 64


def test_origins_are_told_apart_by_commas_or_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PURIFIER_CORS_ORIGINS", "https://a.example, http://localhost:3000")
    assert Settings().cors_origins == ("https://a.example", "http://localhost:3000")


@pytest.mark.parametrize(("host", "given", "limit"), [("::1", None, 0), ("::", None, 600), ("::", 0, 0), ("::1", 7, 7)])
def test_the_rate_is_limited_beyond_loopback_unless_told_otherwise(host: str, given: int | None, limit: int) -> None:
    assert Settings(host=host, rate_limit=given).requests_per_minute == limit


@pytest.mark.parametrize("name", ["DATA_DIR", "KEY", "SERVICE_HOST", "PORT_8000_TCP_PORT", "PREDICTOR_SERVICE_HOST"])
def test_variables_of_others_are_passed_over(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"PURIFIER_{name}", "1")
    assert Settings().max_waiting == 64


def test_they_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]
