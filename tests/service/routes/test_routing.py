"""HEAD is answered wherever GET is, and who asks by another method is told all that are right."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.service.asking import assert_problem

UNDOCUMENTED = ("/", "/docs", "/openapi.json", "/demo/app.js")
VALUES = {"dataset": "mnist", "n": "1", "model": "mnist-classifier", "version": "1"}


def methods_by_path(client: TestClient) -> dict[str, set[str]]:
    documented: dict[str, dict[str, Any]] = client.get("/openapi.json").json()["paths"]
    found = {path.format_map(VALUES): {method.upper() for method in item} for path, item in documented.items()}
    return {**found, **{path: {"GET"} for path in UNDOCUMENTED}}


def test_head_is_answered_wherever_get_is(client: TestClient) -> None:
    paths = [path for path, methods in methods_by_path(client).items() if "GET" in methods]
    assert {"/attacks", "/latency", "/v2", "/v2/models/mnist-classifier"} < set(paths)
    for path in paths:
        assert client.head(path).status_code == client.get(path).status_code == 200, path


def test_head_is_not_documented(client: TestClient) -> None:
    assert not any("HEAD" in methods for methods in methods_by_path(client).values())


@pytest.mark.parametrize("method", ["DELETE", "PUT"])
def test_a_wrong_method_is_told_all_that_are_right(client: TestClient, method: str) -> None:
    for path, methods in methods_by_path(client).items():
        refused = client.request(method, path)
        assert_problem(refused, 405)
        allowed = set(refused.headers["allow"].split(", "))
        assert allowed == methods | ({"HEAD"} if "GET" in methods else set()), path
