"""Probes get their answer whatever they add to the query, and by HEAD too."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("query", ["_=1732300000", "verbose", "_=1&_=2", "%ff=%fe"])
def test_a_probe_may_add_anything_to_the_query(client: TestClient, path: str, query: str) -> None:
    assert client.get(f"{path}?{query}").status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/models", "/samples", "/samples/mnist/3"])
def test_head_answers_as_get_does(client: TestClient, path: str) -> None:
    same = {"X-Request-ID": "probe"}
    head, get = client.head(path, headers=same), client.get(path, headers=same)
    assert head.status_code == 200
    assert head.headers == get.headers


def test_head_refuses_as_get_does(client: TestClient) -> None:
    assert client.head("/models?dataset=mnist").status_code == 422
    assert client.head("/samples/mnist/99").status_code == 404
