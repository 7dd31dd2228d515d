"""What stands around Ray's server: Ray's errors become ours, and clients give Ray no orders."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.envelope import PROTECTION, EnvelopeMiddleware
from service.scaleout.answers import middlewares
from tests.service.asking import assert_problem


def behind(answer: Response) -> TestClient:
    """A client of a server that answers so, with what Ray puts around it: Ray's own id first, ours outside."""

    async def server(scope: Scope, receive: Receive, send: Send) -> None:
        answer.headers["X-Seen"] = str(sorted(Request(scope).headers.keys()))
        answer.headers.append("X-Request-ID", "ray's")
        await answer(scope, receive, send)

    app: ASGIApp = server
    for layer in middlewares():
        app = layer.cls(app, *layer.args, **layer.kwargs)
    return TestClient(app)


@pytest.mark.parametrize(
    ("status", "given", "sentence"),
    [
        (503, 503, "the replicas have as many requests as they take"),
        (404, 404, "there is nothing here"),
        (500, 500, "its log says why"),
        (408, 500, "its log says why"),
    ],
)
def test_an_error_of_ray_is_a_problem_that_tells_nothing_of_its_insides(status: int, given: int, sentence: str) -> None:
    answer = behind(PlainTextResponse("ray::Actor() died at /secret", status)).post("/classify")
    assert_problem(answer, given, sentence)
    assert "secret" not in answer.text
    assert answer.headers.get("retry-after") == ("1" if status == 503 else None)


@pytest.mark.parametrize("status", [200, 404, 503])
def test_an_answer_of_the_service_passes_as_it_is(status: int) -> None:
    answer = behind(PlainTextResponse("ours", status, headers=PROTECTION)).get("/classify")
    assert (answer.status_code, answer.text) == (status, "ours")


@pytest.mark.parametrize("path", ["/-/healthz", "/-/routes"])
def test_what_probes_are_told_is_left_to_ray(path: str) -> None:
    answer = behind(PlainTextResponse("draining", 503)).get(path)
    assert (answer.status_code, answer.text) == (503, "draining")


def test_a_request_has_one_id_on_its_way_in_and_out() -> None:
    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(scope["state"]["request_id"], headers=PROTECTION)(scope, receive, send)

    app: Any = EnvelopeMiddleware(told)  # as the service has it, inside
    for layer in middlewares():
        app = layer.cls(app, *layer.args, **layer.kwargs)
    for given, kept in (("mine.7", True), ("not sane;", False)):
        answer = TestClient(app).get("/", headers={"X-Request-ID": given})
        assert answer.headers.get_list("x-request-id") == [answer.text]
        assert (answer.text == given) is kept


def test_orders_to_ray_do_not_reach_it() -> None:
    orders = {"X-Request-Timeout-Seconds": "0", "X-Request-Disconnect-Disabled": "?1", "X-Session-Id": "a", "X-A": "b"}
    seen = behind(PlainTextResponse("")).get("/", headers=orders).headers["x-seen"]
    assert "x-a" in seen
    assert not any(order.lower() in seen for order in orders if order != "X-A")
