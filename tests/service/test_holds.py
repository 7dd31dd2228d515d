"""Many large bodies at once are refused before they fill the memory, and shut out no small one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import anyio
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.app import create_app
from service.errors import BusyError
from service.holds import FREE_BYTES, Holds
from service.settings import Settings
from tests.service.asking import assert_problem, digit
from tests.service.conftest import wait_until_ready
from tests.service.gates import state_of, until
from tests.service.oip.wire import as_json, digits

LARGEST, ENOUGH = 100_000, 40_000


def test_what_is_held_is_bounded_over_all_requests_and_free_again_after_each() -> None:
    holds = Holds(100)
    first, second, third = (holds.of_a_request() for _ in range(3))
    first.grow(FREE_BYTES + 30)
    first.grow(30)
    second.grow(FREE_BYTES)
    with pytest.raises(BusyError, match="more than 100 bytes, which is all that is held at once"):
        second.grow(41)
    third.grow(FREE_BYTES + 40)
    assert holds.held_bytes == 100
    for hold in (first, second, third, third):
        hold.release()
    assert holds.held_bytes == 0


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    """Which holds one large body and no more."""
    app = create_app(settings)
    state_of(app).bodies = Holds(ENOUGH)
    return app


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        wait_until_ready(client)
        yield client


@pytest.mark.parametrize("path", ["/classify", "/attack", "/v2/models/mnist-classifier/infer"])
def test_while_a_large_body_is_held_another_is_a_503_and_a_small_one_is_served(
    app: FastAPI, client: TestClient, path: str
) -> None:
    portal, ended = client.portal, anyio.Event()
    assert portal is not None

    async def receive() -> dict[str, Any]:
        if not state_of(app).bodies.held_bytes:
            return {"type": "http.request", "body": bytes(LARGEST), "more_body": True}
        await ended.wait()
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        return

    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": []}
    with ExitStack() as stack:
        held = portal.start_task_soon(app, scope, receive, send)
        stack.callback(held.result, 20)
        stack.callback(portal.call, ended.set)
        until(lambda: state_of(app).bodies.held_bytes == LARGEST - FREE_BYTES)
        busy = client.post(path, content=bytes(LARGEST))
        assert_problem(busy, 503, f"more than {ENOUGH} bytes")
        assert busy.headers["retry-after"] == "1"
        assert client.post("/classify", content=digit()).status_code == 200
        assert client.post("/v2/models/mnist-classifier/infer", content=as_json(digits(3))).status_code == 200
    assert state_of(app).bodies.held_bytes == 0
    assert client.post(path, content=bytes(LARGEST)).status_code in {400, 422}


def test_one_body_of_the_largest_size_always_fits(settings: Settings) -> None:
    few = settings.model_copy(update={"max_bodies_bytes": 1024})
    bodies = state_of(create_app(few)).bodies
    bodies.of_a_request().grow(LARGEST)
    assert bodies.held_bytes > few.max_bodies_bytes
