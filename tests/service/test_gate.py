"""Whoever has no key, the wrong one or asks too often is told so; everybody else is served as before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.access import digest_of
from service.app import create_app
from service.settings import Settings
from tests.service.asking import assert_problem, digit
from tests.service.conftest import wait_until_ready

PNG = {"content-type": "image/png"}
KEYS = (f"alice:infer:{digest_of('a-key')}", f"root:infer,attack,admin:{digest_of('root-key')}")


@contextmanager
def asking(settings: Settings, **changes: Any) -> Iterator[TestClient]:
    app = create_app(settings.model_copy(update=changes))
    with TestClient(app, raise_server_exceptions=False, client=("192.0.2.7", 5000)) as client:
        wait_until_ready(client)
        yield client


@pytest.fixture(scope="module")
def locked(settings: Settings) -> Iterator[TestClient]:
    with asking(settings, api_keys=KEYS) as client:
        yield client


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Basic a-key"},
        {"authorization": "a-key"},
        {"authorization": "Bearer wrong", "x-api-key": "a-key"},
        {"x-api-key": digest_of("a-key")},
        {"x-api-key": "é".encode("latin-1").decode("latin-1")},
    ],
)
def test_without_a_known_key_it_is_a_401_that_says_how_to_send_one(locked: TestClient, headers: dict[str, str]) -> None:
    encoded = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    refused = locked.post("/classify", content=digit(), headers={b"content-type": b"image/png", **encoded})
    assert_problem(refused, 401, "Authorization: Bearer KEY", "X-API-Key: KEY")
    assert refused.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("headers", [{"authorization": "bearer a-key"}, {"x-api-key": "a-key"}])
def test_a_known_key_is_served(locked: TestClient, headers: dict[str, str]) -> None:
    assert locked.post("/classify", content=digit(), headers={**PNG, **headers}).status_code == 200


def test_a_path_that_is_not_there_is_not_told_to_strangers(locked: TestClient) -> None:
    assert_problem(locked.get("/nowhere"), 401)
    assert_problem(locked.get("/nowhere", headers={"x-api-key": "a-key"}), 404)


@pytest.mark.parametrize(("method", "path"), [("POST", "/attack?sample=1"), ("GET", "/latency")])
def test_a_key_without_the_group_is_a_403_that_names_both(locked: TestClient, method: str, path: str) -> None:
    assert_problem(
        locked.request(method, path, headers={"x-api-key": "a-key"}), 403, "of the group", "alice opens infer"
    )
    assert locked.request(method, path, headers={"x-api-key": "root-key"}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/demo/app.js", "/openapi.json", "/healthz", "/readyz"])
def test_the_page_and_probes_need_no_key(locked: TestClient, path: str) -> None:
    assert locked.get(path).status_code == 200


def test_docs_ask_for_a_key_only_where_one_is_needed(locked: TestClient, client: TestClient) -> None:
    operation = locked.get("/openapi.json").json()["paths"]["/classify"]["post"]
    assert operation["security"] == [{"HTTPBearer": []}]
    assert "security" not in client.get("/openapi.json").json()["paths"]["/classify"]["post"]


def test_nothing_of_a_refused_body_is_read(locked: TestClient) -> None:
    def endless() -> Iterator[bytes]:
        yield from (bytes(1000) for _ in range(10_000))

    assert_problem(locked.post("/classify", content=endless(), headers=PNG), 401)


def test_beyond_loopback_costly_routes_are_off_until_switched_on(settings: Settings) -> None:
    with asking(settings, host="0.0.0.0", allow_anonymous=True) as client:
        assert_problem(client.post("/attack?sample=1"), 403, "switched off here; PURIFIER_ATTACKS=true")
        assert_problem(client.post("/latency/benchmark"), 403, "PURIFIER_BENCHMARKS=true")
        assert client.get("/latency").status_code == client.get("/attacks").status_code == 200
        assert client.post("/classify", content=digit(), headers=PNG).status_code == 200
    with asking(settings, host="0.0.0.0", allow_anonymous=True, attacks=True, benchmarks=True) as client:
        assert client.post("/attack?sample=1&steps=2").status_code == 200
        assert client.post("/latency/benchmark?repeats=1").status_code == 200


def test_on_loopback_they_can_be_switched_off(settings: Settings) -> None:
    with asking(settings, attacks=False) as client:
        assert_problem(client.post("/attack?sample=1"), 403, "PURIFIER_ATTACKS=true")
        assert client.post("/latency/benchmark?repeats=1").status_code == 200


def test_who_asks_too_often_is_told_when_to_come_back(settings: Settings) -> None:
    with asking(settings, rate_limit=2) as client:
        first = client.get("/models")
        assert first.headers["ratelimit-policy"] == '"default";q=2;w=60'
        assert first.headers["ratelimit"] == '"default";r=1;t=30'
        client.get("/models")
        refused = client.get("/models")
        assert_problem(refused, 429, "allowed: the next request in")
        assert 0 < int(refused.headers["retry-after"]) <= 30
        assert refused.headers["ratelimit"].startswith('"default";r=0;')
        assert client.get("/healthz").status_code == 200
        assert "ratelimit" not in client.get("/healthz").headers


def test_a_key_counts_wherever_it_comes_from_and_guesses_count_for_their_address(settings: Settings) -> None:
    with asking(settings, api_keys=KEYS, rate_limit=1) as client:
        assert client.get("/models").status_code == 401
        assert client.get("/models", headers={"x-api-key": "guess"}).status_code == 429
        assert client.get("/models", headers={"x-api-key": "a-key"}).status_code == 200
        assert client.get("/models", headers={"x-api-key": "a-key"}).status_code == 429


def test_an_ipv6_site_is_one_client(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"rate_limit": 1}))
    statuses = [
        TestClient(app, client=(address, 1)).get("/nowhere").status_code
        for address in ("2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:2::1", "fe80::1%eth0")
    ]
    assert statuses == [404, 429, 404, 404]


def test_without_a_limit_no_answer_tells_of_one(client: TestClient) -> None:
    assert not {"ratelimit", "ratelimit-policy"} & set(client.get("/models").headers)
