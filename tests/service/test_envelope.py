"""Every answer carries an id and the headers that keep browsers from misusing it."""

from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient

from service.envelope import PROTECTION
from tests.service.asking import digit

PNG = {"content-type": "image/png"}


def test_a_sane_id_is_kept_in_header_and_problem(client: TestClient) -> None:
    for path, status in (("/healthz", 200), ("/nowhere", 404)):
        answer = client.get(path, headers={"x-request-id": "trace-1.a_B"})
        assert (answer.status_code, answer.headers["x-request-id"]) == (status, "trace-1.a_B")
    assert client.get("/nowhere", headers={"x-request-id": "trace-1"}).json()["request_id"] == "trace-1"


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "é", "a;b", '"}'])
def test_any_other_id_is_replaced(client: TestClient, given: str) -> None:
    made = client.get("/healthz", headers={b"x-request-id": given.encode("latin-1")}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", made)


def test_no_two_requests_share_an_id(client: TestClient) -> None:
    assert len({client.get("/healthz").headers["x-request-id"] for _ in range(20)}) == 20


def test_answers_that_hold_data_are_neither_stored_nor_framed_nor_guessed_at(client: TestClient) -> None:
    headers = client.post("/classify", content=digit(), headers=PNG).headers
    assert {name: headers[name] for name in PROTECTION} == PROTECTION


def test_what_says_how_long_it_holds_keeps_saying_so(client: TestClient) -> None:
    assert "max-age" in client.get("/samples/mnist/1").headers["cache-control"]
