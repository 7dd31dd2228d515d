"""GET /results: the recorded rows, of one data set or of all."""

from __future__ import annotations

from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.service.asking import assert_problem
from tests.service.conftest import wait_until_ready


def test_the_shipped_results_are_listed_with_their_attackers_knowledge() -> None:
    with TestClient(create_app(Settings(device="cpu", threads=1))) as client:
        wait_until_ready(client)
        rows = client.get("/results").json()["rows"]
        fashion = client.get("/results?dataset=fashion-mnist").json()["rows"]
    assert {row["dataset"] for row in rows} == {"mnist", "fashion-mnist"}
    assert {row["knowledge"] for row in rows} >= {"oblivious", "adaptive"}
    assert fashion == [row for row in rows if row["dataset"] == "fashion-mnist"]
    assert all(row["ci_low"] <= row["robust_accuracy"] <= row["ci_high"] for row in rows)


def test_a_folder_without_results_has_none(client: TestClient) -> None:
    assert client.get("/results").json() == {"rows": []}
    assert client.head("/results").status_code == 200


def test_an_unknown_data_set_and_an_unknown_parameter_are_refused(client: TestClient) -> None:
    assert_problem(client.get("/results?dataset=cifar"), 422, "'cifar'", "mnist, fashion-mnist")
    assert_problem(client.get("/results?attack=pgd"), 422, "'attack'", "dataset")
