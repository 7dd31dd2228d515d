"""Every status of an error that the application has, provoked: each is a problem, with an id and safe headers.

What is no HTTP never reaches the application; `test_deadlines` has the statuses of that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from service.access import digest_of
from service.app import create_app
from service.catalog import Classifier
from service.errors import ServiceError
from service.prediction import Defense
from service.settings import Settings
from tests.service.asking import assert_problem, digit
from tests.service.conftest import wait_until_ready
from tests.service.gates import Gate, state_of

INFER = "/v2/models/mnist-classifier/infer"
PREFLIGHT = {"origin": "https://b.example", "access-control-request-method": "POST"}
Ask = Callable[[TestClient, pytest.MonkeyPatch], httpx2.Response]


@pytest.fixture(scope="module")
def open_client(settings: Settings) -> Iterator[TestClient]:
    """For everybody, but without attacks."""
    changes = {"attacks": False, "cors_origins": ("https://a.example",)}
    yield from _serving(settings.model_copy(update=changes))


@pytest.fixture(scope="module")
def locked_client(settings: Settings) -> Iterator[TestClient]:
    """For a key of the group `infer`, once a minute, and for strangers twice."""
    keys = (f"alice:infer:{digest_of('a-key')}",)
    yield from _serving(settings.model_copy(update={"api_keys": keys, "rate_limit": 2}))


def _serving(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        wait_until_ready(client)
        yield client


def asking(method: str, path: str, **more: Any) -> Ask:
    return lambda client, _: client.request(method, path, **more)


def _slowly(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> httpx2.Response:
    monkeypatch.setattr("starlette.requests.Request.stream", _endless)
    settings = state_of(client.app).settings  # type: ignore[arg-type]
    monkeypatch.setitem(settings.__dict__, "body_timeout_s", 0.05)
    return client.post("/classify", content=digit())


async def _endless(*_: Any) -> Any:
    yield b"x"
    await asyncio.sleep(60)


def _of_a_broken_server(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> httpx2.Response:
    def fail(*_: Any) -> Any:
        raise RuntimeError("secret")

    monkeypatch.setattr(Classifier, "logits", fail)
    return client.post("/classify", content=digit())


def _of_a_hanging_server(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> httpx2.Response:
    gate = Gate(monkeypatch, Defense)
    monkeypatch.setattr(state_of(client.app).batcher, "_timeout_s", 0.05)  # type: ignore[arg-type]
    try:
        return client.post("/classify", content=digit())
    finally:
        gate.open.set()


def _of_a_draining_server(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> httpx2.Response:
    monkeypatch.setattr(state_of(client.app), "draining", True)  # type: ignore[arg-type]
    return client.get("/readyz")


def _too_often(client: TestClient, _: pytest.MonkeyPatch) -> httpx2.Response:
    return [client.get("/models", headers={"x-api-key": "a-key"}) for _ in range(4)][-1]


OPEN: dict[str, tuple[int, Ask]] = {
    "no request of the protocol": (400, asking("POST", INFER, content=b"{}")),
    "what is switched off": (403, asking("POST", "/attack?sample=1")),
    "a preflight from elsewhere": (403, asking("OPTIONS", "/classify", headers=PREFLIGHT)),
    "what is not there": (404, asking("GET", "/nowhere")),
    "a slash too many": (404, asking("GET", "/models/")),
    "another method": (405, asking("DELETE", "/classify")),
    "nothing acceptable": (406, asking("POST", "/purify", content=digit(), headers={"accept": "text/html"})),
    "a slow body": (408, _slowly),
    "a large body": (413, asking("POST", "/classify", content=bytes(100_001))),
    "another media type": (415, asking("POST", "/classify", content=b"a", headers={"content-type": "text/html"})),
    "a wrong parameter": (422, asking("POST", "/classify?seed=-1", content=digit())),
    "no picture": (422, asking("POST", "/classify", content=b"x")),
    "a fault of ours": (500, _of_a_broken_server),
    "the end of the server": (503, _of_a_draining_server),
    "no answer in time": (504, _of_a_hanging_server),
}
LOCKED: dict[str, tuple[int, Ask]] = {
    "no key": (401, asking("GET", "/models")),
    "a key of another group": (403, asking("GET", "/latency", headers={"x-api-key": "a-key"})),
    "too many requests": (429, _too_often),
}
FURTHER_HEADERS = {401: "www-authenticate", 405: "allow", 429: "retry-after", 503: "retry-after"}


def test_no_status_of_ours_is_left_out() -> None:
    provoked = {status for status, _ in (*OPEN.values(), *LOCKED.values())}
    errors: list[type[ServiceError]] = [ServiceError, *ServiceError.__subclasses__()]
    assert {int(error.status) for error in errors} <= provoked


@pytest.mark.parametrize("name", OPEN)
def test_an_error_is_a_problem(open_client: TestClient, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    _assert_provoked(open_client, monkeypatch, *OPEN[name])


@pytest.mark.parametrize("name", LOCKED)
def test_a_refusal_of_the_gate_is_a_problem(
    locked_client: TestClient, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    _assert_provoked(locked_client, monkeypatch, *LOCKED[name])


def _assert_provoked(client: TestClient, monkeypatch: pytest.MonkeyPatch, status: int, ask: Ask) -> None:
    with monkeypatch.context() as patch:
        refused = ask(client, patch)
    assert_problem(refused, status)
    assert "secret" not in refused.text
    if status in FURTHER_HEADERS:
        assert refused.headers[FURTHER_HEADERS[status]]
