"""Inferences of /v2 are computed in batches like /classify's: bounded, in time, watched, and each as if alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service import batching
from service.app import create_app
from service.oip.execution import Execution
from service.settings import Settings
from tests.service.asking import assert_problem, digit
from tests.service.conftest import wait_until_ready
from tests.service.gates import Gate, state_of, until
from tests.service.oip.wire import as_json, digits
from tests.service.routes.test_metrics import grown, scrape

CLASSIFIER = "/v2/models/mnist-classifier/infer"
PURIFIER = "/v2/models/mnist-purifier-autoencoder/infer"
PIPELINE = "/v2/models/mnist-pipeline-autoencoder/infer"
WATCHED = {"dataset": "mnist", "defense": "autoencoder"}


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    return create_app(settings)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        wait_until_ready(client)
        yield client


def test_requests_of_several_images_are_computed_together_and_answered_as_if_alone(
    app: FastAPI, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = [as_json(digits(*range(n)), id=str(n), parameters={"seed": n}) for n in (1, 2, 3)]
    gate = Gate(monkeypatch, Execution)
    with ThreadPoolExecutor(4) as users:

        def ask(body: bytes) -> str:
            return client.post(PIPELINE, content=body).text

        first = users.submit(ask, bodies[0])
        assert gate.reached.wait(20)
        rest = [users.submit(ask, body) for body in bodies]
        until(lambda: state_of(app).batcher.waiting >= len(bodies))
        gate.open.set()
        together = [answer.result(20) for answer in rest]
    assert gate.batches[:2] == [1, 3]
    assert state_of(app).batcher.counts.sizes[6] == 1
    assert [first.result(20), *together] == [ask(body) for body in (bodies[0], *bodies)]
    (counted,) = client.get("/v2/models/mnist-pipeline-autoencoder/stats").json()["model_stats"]
    assert (counted["inference_count"], counted["execution_count"]) == (14, 6)


def test_no_batch_is_larger_than_allowed_but_for_a_request_that_is(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch, Execution)
    app = create_app(settings.model_copy(update={"max_batch": 3}))
    with TestClient(app) as client, ThreadPoolExecutor(5) as users:
        wait_until_ready(client)
        first = users.submit(client.post, CLASSIFIER, content=as_json(digits(1)))
        assert gate.reached.wait(20)
        rest = []
        for waiting, labels in enumerate([(1, 2), (3,), (4, 5, 6, 7), (8, 9)], 1):
            rest.append(users.submit(client.post, CLASSIFIER, content=as_json(digits(*labels))))
            until(lambda waiting=waiting: state_of(app).batcher.waiting == waiting)
        gate.open.set()
        assert {answer.result(20).status_code for answer in (first, *rest)} == {200}
        assert gate.batches == [1, 2, 1, 1]
        assert state_of(app).batcher.counts.sizes == {1: 1, 3: 1, 4: 1, 2: 1}


def test_a_full_queue_sheds_and_who_hangs_up_is_not_computed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch, Execution)
    app = create_app(settings.model_copy(update={"max_waiting": 1}))
    with TestClient(app) as client, ThreadPoolExecutor(2) as users:
        wait_until_ready(client)
        first = users.submit(client.post, CLASSIFIER, content=as_json(digits(1)))
        assert gate.reached.wait(20)
        assert client.portal is not None
        client.portal.call(_ask_and_hang_up, app)
        second = users.submit(client.post, CLASSIFIER, content=as_json(digits(1)))
        until(lambda: state_of(app).batcher.waiting == 1)
        shed = client.post(PIPELINE, content=as_json(digits(1)))
        # /classify waits in the same queue.
        assert client.post("/classify", content=digit()).status_code == 503
        gate.open.set()
        assert_problem(shed, 503, "1 requests are waiting")
        assert shed.headers["retry-after"] == "1"
        assert [answer.result(20).status_code for answer in (first, second)] == [200, 200]
        assert state_of(app).batcher.counts.abandoned == 1
        assert gate.batches == [1, 1]


async def _ask_and_hang_up(app: FastAPI) -> None:
    body = as_json(digits(1))
    messages: Iterator[dict[str, Any]] = iter(
        [{"type": "http.request", "body": body, "more_body": False}, {"type": "http.disconnect"}]
    )

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def send(_: Any) -> None:
        return

    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": CLASSIFIER, "query_string": b"", "headers": []}
    await app(scope, receive, send)


def test_a_hanging_worker_is_a_504_and_not_ready_until_it_answers_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch, Execution)
    app = create_app(settings.model_copy(update={"request_timeout_s": 0.05}))
    with TestClient(app) as client:
        wait_until_ready(client)
        assert_problem(client.post(PIPELINE, content=as_json(digits(1))), 504, "not answered within 0.05 s")
        for path in ("/readyz", "/v2/health/ready", "/v2/models/mnist-classifier/ready"):
            assert_problem(client.get(path), 503, "a batch has been computed for more than 0.05 s")
        gate.open.set()
        wait_until_ready(client)
        assert client.get("/v2/health/ready").status_code == 200


def test_a_batcher_that_dies_is_not_ready_until_it_is_back(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(batching, "_PAUSE_S", 0.5)
    with monkeypatch.context() as broken:
        # One answer too few is a fault of the batcher's own, not of the batch.
        broken.setattr(Execution, "answer", lambda *_: [])
        assert_problem(client.post(CLASSIFIER, content=as_json(digits(1))), 503, "is being restarted")
    for path in ("/readyz", "/v2/health/ready"):
        assert_problem(client.get(path), 503, "is being restarted")
    wait_until_ready(client)
    assert client.get("/v2/health/ready").status_code == 200
    assert client.post(CLASSIFIER, content=as_json(digits(1))).status_code == 200
    assert "the batcher failed" in caplog.text


@pytest.mark.parametrize(("path", "looks"), [(PURIFIER, 1), (PIPELINE, 1), (CLASSIFIER, 0)])
def test_what_v2_purifies_is_watched_for_drift_as_classify_is(client: TestClient, path: str, looks: int) -> None:
    before = scrape(client)
    assert client.post(path, content=as_json(digits(5, 3))).status_code == 200
    if looks:
        until(lambda: grown(client, before, "purifier_residual_l2_count", **WATCHED) == looks)
    evidence = client.post("/classify", content=digit(5)).json()["evidence"]
    assert grown(client, before, "purifier_residual_l2_count", **WATCHED) == looks + 1
    total = grown(client, before, "purifier_residual_l2_sum", **WATCHED)
    assert total == pytest.approx((looks + 1) * evidence["residual_l2"])
