"""A leash stops long work: when its client hangs up, and when its time is over."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import anyio
import httpx2
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.app import create_app
from service.errors import AbandonedError, NotReadyError, TimeLimitError
from service.leash import Leash, Leashed
from service.runtime import Runtime
from service.settings import Settings
from tests.service.asking import assert_problem
from tests.service.attacks.victims import LinearModel, Spy, images_in, weights
from tests.service.conftest import wait_until_ready
from tests.service.loops import adding

# Turns of a loop: seconds, in which a test that waits for the end of it has failed.
_LONG = 2**23


def test_work_goes_on_until_the_leash_is_cut() -> None:
    leash, told = Leash(limit_s=100), []
    with leash.holding():
        leash.feel()
    leash.when_cut(lambda: told.append("before"))
    leash.cut(NotReadyError("the server ends"))
    leash.cut()
    leash.when_cut(lambda: told.append("after"))
    with pytest.raises(NotReadyError, match="the server ends"), leash.holding():
        told.append("never")
    assert told == ["before", "before", "after"]


def test_the_time_counts_from_the_first_look() -> None:
    leash = Leash(limit_s=0.05)
    time.sleep(0.1)  # in the queue

    def work() -> None:
        with leash.holding():
            leash.feel()
            time.sleep(0.2)
            leash.feel()

    with pytest.raises(TimeLimitError, match=r"within 0\.05 s"):
        work()


@pytest.mark.parametrize("ended_by", ["its time", "its client"])
def test_a_long_look_ends_with_the_leash(ended_by: str, tmp_path: Path) -> None:
    long = Runtime("cpu", threads=1).open(adding(tmp_path / "long.onnx", turns=_LONG))
    leash = Leash(limit_s=0.1 if ended_by == "its time" else 60)
    if ended_by == "its client":
        threading.Timer(0.1, leash.cut).start()
    with pytest.raises(TimeLimitError if ended_by == "its time" else AbandonedError), leash.holding():
        long.run(images=np.zeros((1,), np.float32))


def test_what_goes_wrong_before_the_leash_is_cut_is_told_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError), Leash(limit_s=60).holding():
        1 / 0  # noqa: B018


def test_every_look_feels_the_leash_and_large_ones_are_taken_apart() -> None:
    spy, images, labels = Spy(LinearModel(weights())), images_in(n=150), np.zeros(150, np.int64)
    leash = Leash()
    victim = Leashed(spy, leash)
    assert np.allclose(victim.logits(images), spy.model.logits(images), atol=1e-5)
    cotangent = np.ones((150, 10), np.float32)
    for found, expected in (
        (victim.loss_gradient(images, labels), spy.model.loss_gradient(images, labels)),
        (victim.vector_jacobian(images, cotangent), spy.model.vector_jacobian(images, cotangent)),
        (victim.vector_jacobian(images, lambda z: -z), spy.model.vector_jacobian(images, lambda z: -z)),
    ):
        assert all(np.allclose(a, b, atol=1e-4) for a, b in zip(found, expected, strict=True))
    leash.cut()
    for look in (
        lambda: victim.logits(images),
        lambda: victim.loss_gradient(images, labels),
        lambda: victim.vector_jacobian(images, lambda z: z),
    ):
        with pytest.raises(AbandonedError):
            look()


def test_an_attack_that_takes_too_long_is_a_problem(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    session = Runtime("cpu", threads=1).open(adding(tmp_path / "long.onnx", turns=_LONG))
    monkeypatch.setattr("service.routes.attack.attempt", lambda *_: session.run(images=np.zeros((1,), np.float32)))
    short = settings.model_copy(update={"attack_timeout_s": 0.1})
    with TestClient(create_app(short), raise_server_exceptions=False) as client:
        wait_until_ready(client)
        assert_problem(client.post("/attack?sample=1"), 504, "did not end within", "fewer steps")
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("path", "work"),
    [("/attack?sample=1", "service.routes.attack.attempt"), ("/latency/benchmark", "service.routes.latency.benchmark")],
)
def test_long_work_ends_where_its_client_hangs_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str, work: str
) -> None:
    looking, ended = threading.Event(), threading.Event()
    session = Runtime("cpu", threads=1).open(adding(tmp_path / "long.onnx", turns=_LONG))

    def long(*_: Any, **__: Any) -> Any:
        looking.set()
        try:
            session.run(images=np.zeros((1,), np.float32))
        except Exception:
            ended.set()
            raise

    monkeypatch.setattr(work, long)
    app = create_app(settings)
    with TestClient(app) as client:
        wait_until_ready(client)
        anyio.run(_ask_and_hang_up, app, path, looking)
        assert ended.wait(20)


async def _ask_and_hang_up(app: FastAPI, path: str, looking: threading.Event) -> None:
    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await anyio.to_thread.run_sync(looking.wait, 20)
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        """Nobody listens."""

    url = httpx2.URL(f"http://test{path}")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": url.path,
        "raw_path": url.path.encode(),
        "query_string": url.query,
        "root_path": "",
        "headers": [],
        "server": ("test", 80),
        "client": ("test", 1),
    }
    with anyio.fail_after(20):
        await app(scope, receive, send)
