"""Web pages of other origins may ask only where their origin is named, letter by letter."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.access import digest_of
from service.app import create_app
from service.settings import Settings
from tests.service.asking import assert_problem

ORIGIN = "https://a.example"
ALLOW_ORIGIN = "access-control-allow-origin"


def preflight(origin: str = ORIGIN, method: str = "POST", headers: str = "x-api-key") -> dict[str, str]:
    return {"origin": origin, "access-control-request-method": method, "access-control-request-headers": headers}


def client_of(settings: Settings, *origins: str, **changes: Any) -> TestClient:
    return TestClient(create_app(settings.model_copy(update={"cors_origins": origins, **changes})))


@pytest.fixture(scope="module")
def client(settings: Settings) -> TestClient:
    """Its lifespan never runs: no answer here needs a model."""
    keys = (f"alice:infer:{digest_of('a-key')}",)
    return client_of(settings, ORIGIN, "http://localhost:3000", api_keys=keys)


@pytest.mark.parametrize("origin", [ORIGIN, "http://localhost:3000"])
@pytest.mark.parametrize("path", ["/classify", "/v2/models/mnist-classifier/infer"])
def test_a_preflight_of_a_named_origin_is_allowed_without_a_key(client: TestClient, origin: str, path: str) -> None:
    wanted = "authorization, content-type, content-encoding, inference-header-content-length, x-request-id"
    allowed = client.options(path, headers=preflight(origin, headers=wanted))
    assert (allowed.status_code, allowed.headers[ALLOW_ORIGIN]) == (200, origin)
    assert set(allowed.headers["access-control-allow-methods"].split(", ")) == {"GET", "POST"}
    assert "access-control-allow-credentials" not in allowed.headers
    assert allowed.headers["vary"].startswith("Origin")


@pytest.mark.parametrize(
    "asked",
    [
        preflight("https://b.example"),
        preflight("http://a.example"),
        preflight("https://a.example:8443"),
        preflight("https://A.example"),
        preflight("https://a.example."),
        preflight("https://a.example.evil.example"),
        preflight("https://evil-a.example"),
        preflight("https://sub.a.example"),
        preflight("https://a.example/"),
        preflight("null"),
        preflight("*"),
        preflight(""),
        preflight("https://a.example, https://b.example"),
    ],
    ids=lambda asked: asked["origin"],
)
def test_a_preflight_of_another_origin_is_a_problem(client: TestClient, asked: dict[str, str]) -> None:
    refused = client.options("/classify", headers=asked)
    assert_problem(refused, 403, f"origin {asked['origin']!r}", "an origin of PURIFIER_CORS_ORIGINS")
    assert ALLOW_ORIGIN not in refused.headers
    assert refused.headers["vary"].startswith("Origin")
    # Its other requests are answered as everybody's, and no page may read that.
    assert ALLOW_ORIGIN not in client.get("/healthz", headers={"origin": asked["origin"]}).headers


@pytest.mark.parametrize(
    ("asked", "fragment"),
    [
        (preflight(method="DELETE"), "access-control-request-method 'DELETE'"),
        (preflight(method="post"), "access-control-request-method 'post'"),
        (preflight(headers="x-api-key, x-evil"), "'x-api-key, x-evil'"),
    ],
)
def test_a_preflight_for_more_than_is_served_is_a_problem(
    client: TestClient, asked: dict[str, str], fragment: str
) -> None:
    assert_problem(client.options("/classify", headers=asked), 403, fragment, "GET or POST", "X-API-Key")


def test_a_page_of_a_named_origin_can_read_why_it_was_refused(client: TestClient) -> None:
    refused = client.get("/models", headers={"origin": ORIGIN})
    assert_problem(refused, 401)
    assert refused.headers[ALLOW_ORIGIN] == ORIGIN
    exposed = refused.headers["access-control-expose-headers"].split(", ")
    assert {"X-Request-ID", "Retry-After", "Inference-Header-Content-Length", "X-Label"} <= set(exposed)


def test_every_origin_may_ask_only_where_that_is_set(settings: Settings) -> None:
    everybody = client_of(settings, "*")
    for origin in (ORIGIN, "null"):
        allowed = everybody.options("/classify", headers=preflight(origin))
        assert (allowed.status_code, allowed.headers[ALLOW_ORIGIN]) == (200, "*")
        assert everybody.get("/healthz", headers={"origin": origin}).headers[ALLOW_ORIGIN] == "*"
        assert "access-control-allow-credentials" not in allowed.headers


def test_by_default_none_may(settings: Settings) -> None:
    nobody = client_of(settings)
    assert_problem(nobody.options("/classify", headers=preflight()), 405)
    assert ALLOW_ORIGIN not in nobody.get("/healthz", headers={"origin": ORIGIN}).headers


@pytest.mark.parametrize(
    "origin",
    [*("a.example", "https://*.example", "https://a.example/", "https://A.example", "null", "https://", "ftp://a"), ""],
)
def test_what_no_browser_sends_as_an_origin_is_no_setting(origin: str) -> None:
    with pytest.raises(ValueError, match="cors_origins"):
        Settings(cors_origins=(origin,))
