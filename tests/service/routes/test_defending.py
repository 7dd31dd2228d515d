"""/classify and /purify are computed in batches, and an answer depends on its own picture and seed alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.latency import Stopwatch
from service.oip.execution import Execution
from service.prediction import Defense
from service.settings import Settings
from tests.service.asking import assert_problem, digit, png
from tests.service.conftest import wait_until_ready
from tests.service.gates import Gate, state_of, until

PNG = {"content-type": "image/png"}
IMAGES = {"name": "images", "datatype": "FP32", "shape": [1, 1, 28, 28], "data": [0.5] * 784}


def test_concurrent_requests_are_computed_together_and_answered_as_if_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch, Defense)
    app = create_app(settings)
    paths = [f"/classify?seed={seed}" for seed in range(6)]
    with TestClient(app) as client, ThreadPoolExecutor(8) as users:
        wait_until_ready(client)

        def ask(path: str) -> dict[str, Any]:
            answer: dict[str, Any] = client.post(path, content=digit(4), headers=PNG).json()
            del answer["timings_ms"]
            return answer

        first = users.submit(ask, "/classify")
        assert gate.reached.wait(20)
        rest = [users.submit(ask, path) for path in paths]
        until(lambda: state_of(app).batcher.waiting == len(paths))
        gate.open.set()
        together = [first.result(20), *(answer.result(20) for answer in rest)]
        assert gate.batches == [1, 6]
        assert together == [ask(path) for path in ("/classify", *paths)]
        assert len({str(answer["probabilities"]) for answer in together}) == 7


@pytest.mark.parametrize("path", ["/classify?defense=puvae&seed=7", "/v2/models/mnist-purifier-puvae/infer"])
def test_what_is_slow_holds_up_nothing_else(with_slow: Settings, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    body = digit() if path.startswith("/classify") else json.dumps({"inputs": [IMAGES]}).encode()
    gates = [Gate(monkeypatch, answering, only="slow") for answering in (Defense, Execution)]
    app = create_app(with_slow)
    with TestClient(app) as client, ThreadPoolExecutor(3) as users:
        wait_until_ready(client)
        slow = [users.submit(client.post, path, content=body, headers=PNG) for _ in range(3)]
        until(lambda: any(gate.reached.is_set() for gate in gates) and state_of(app).slow.waiting == 2)
        assert client.post("/classify", content=digit(), headers=PNG).status_code == 200
        assert client.post("/purify?defense=none", content=digit(), headers=PNG).status_code == 200
        for gate in gates:
            gate.open.set()
        answers = [answer.result(20) for answer in slow]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert [gate.batches for gate in gates if gate.batches] == [[1, 1, 1]]


def test_what_is_slow_has_limits_of_its_own(with_slow: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"request_timeout_s": 5, "slow_timeout_s": 0.2, "max_waiting_slow": 1, "max_waiting": 64}
    gate = Gate(monkeypatch, Defense, only="slow")
    app = create_app(with_slow.model_copy(update=limits))
    with TestClient(app) as client, ThreadPoolExecutor(2) as users:
        wait_until_ready(client)
        late = users.submit(client.post, "/purify?defense=puvae", content=digit(), headers=PNG)
        assert gate.reached.wait(20)
        assert_problem(late.result(20), 504, "not answered within 0.2 s")
        assert client.get("/readyz").status_code == 200
        gate.open.set()


def test_a_full_queue_sheds_with_a_503_that_says_when_to_come_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch, Defense)
    app = create_app(settings.model_copy(update={"max_waiting": 1}))
    with TestClient(app) as client, ThreadPoolExecutor(2) as users:
        wait_until_ready(client)
        taken = [users.submit(client.post, "/purify", content=digit(), headers=PNG)]
        assert gate.reached.wait(20)
        taken.append(users.submit(client.post, "/purify", content=digit(), headers=PNG))
        until(lambda: state_of(app).batcher.waiting == 1)
        shed = client.post("/purify", content=digit(), headers=PNG)
        gate.open.set()
        assert_problem(shed, 503, "1 requests are waiting")
        assert shed.headers["retry-after"] == "1"
        assert [answer.result(20).status_code for answer in taken] == [200, 200]


def test_a_request_that_waits_too_long_is_told_so(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, Defense)
    app = create_app(settings.model_copy(update={"request_timeout_s": 0.05}))
    with TestClient(app) as client:
        wait_until_ready(client)
        assert_problem(client.post("/classify", content=digit(), headers=PNG), 504, "not answered within 0.05 s")
        gate.open.set()


def test_a_request_whose_client_has_gone_is_not_computed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, Defense)
    app = create_app(settings)
    with TestClient(app) as client, ThreadPoolExecutor(1) as users:
        wait_until_ready(client)
        first = users.submit(client.post, "/classify", content=digit(), headers=PNG)
        assert gate.reached.wait(20)
        messages: Iterator[dict[str, Any]] = iter(
            [{"type": "http.request", "body": digit(), "more_body": False}, {"type": "http.disconnect"}]
        )
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return next(messages)

        async def send(message: Any) -> None:
            sent.append(message)

        scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": "/classify",
            "query_string": b"",
            "headers": [(b"content-type", b"image/png")],
        }
        assert client.portal is not None
        client.portal.call(app, scope, receive, send)
        gate.open.set()
        assert first.result(20).status_code == 200
        assert state_of(app).batcher.counts.abandoned == 1
        assert gate.batches == [1]


def test_it_is_not_ready_while_the_batcher_has_failed(settings: Settings) -> None:
    app = create_app(settings)
    with TestClient(app) as client:
        wait_until_ready(client)
        state_of(app).batcher.failure = "the batcher failed"
        assert_problem(client.get("/readyz"), 503, "the batcher failed")
        assert_problem(client.post("/classify", content=digit(), headers=PNG), 503, "the batcher failed")


def test_a_large_picture_is_decoded_off_the_event_loop(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    large = png(np.zeros((65, 65), np.uint8))
    hops: list[str] = []
    pictures = state_of(client.app).pictures  # type: ignore[arg-type]
    lane_run = pictures.run

    async def run(job: Any, stopwatch: Stopwatch) -> Any:
        hops.append("thread")
        return await lane_run(job, stopwatch)

    client.post("/classify", content=digit(), headers=PNG)  # which finds the defense
    monkeypatch.setattr(pictures, "run", run)
    for data, expected in ((digit(), []), (large, ["thread"])):
        assert client.post("/classify", content=data, headers=PNG).status_code == 200
        assert hops == expected
