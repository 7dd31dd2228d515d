"""No two graphs share a name under /v2, and what a request calls a model is looked up and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.app import create_app
from service.catalog import Catalog
from service.errors import ManifestError
from service.manifest import Manifest
from service.oip.models import find, offered
from service.settings import Settings
from tests.service.asking import assert_problem
from tests.service.gates import state_of

_watched: list[list[str]] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    # Sources are read for tracebacks, whatever is asked.
    if event in {"open", "os.listdir", "os.scandir"} and _watched and not str(arguments[0]).endswith(".py"):
        _watched[-1].append(str(arguments[0]))


# An audit hook stays for ever, hence one that mostly does nothing.
sys.addaudithook(_watch)


@contextmanager
def no_file_is_touched() -> Iterator[None]:
    _watched.append([])
    try:
        yield
        assert _watched[-1] == []
    finally:
        _watched.pop()


def renamed(catalog: Catalog, **names: str) -> Catalog:
    graphs = tuple(
        graph.model_copy(update={"name": names.get(graph.name.replace("-", "_"), graph.name)})
        for graph in catalog.manifest.graphs
    )
    return Catalog(catalog.folder, catalog.manifest.model_copy(update={"graphs": graphs}), catalog.runtime)


def test_a_slash_and_what_else_a_path_cannot_hold_become_dashes(catalog: Catalog) -> None:
    assert find(renamed(catalog, mnist_classifier="mnist/tiny é"), "mnist-tiny--").graph.name == "mnist/tiny é"


@pytest.mark.parametrize("other", ["mnist/purifier-autoencoder", "mnist?purifier autoencoder"])
def test_names_that_would_be_one_are_refused(catalog: Catalog, other: str) -> None:
    with pytest.raises(ManifestError, match=r"would be 'mnist-purifier-autoencoder' in /v2, as is graph 'mnist-"):
        offered(renamed(catalog, fashion_mnist_classifier=other))


@pytest.mark.parametrize("name", ["stats", "..", ".", ""])
def test_a_name_that_paths_use_is_refused(catalog: Catalog, name: str) -> None:
    with pytest.raises(ManifestError, match="as is another path of /v2/models"):
        offered(renamed(catalog, mnist_classifier=name))


def test_a_manifest_that_names_two_graphs_alike_is_refused(catalog: Catalog) -> None:
    content = catalog.manifest.model_dump()
    content["graphs"][3]["name"] = content["graphs"][0]["name"]
    with pytest.raises(ValueError, match="several graphs are named 'mnist-classifier'; allowed: a name each"):
        Manifest.model_validate(content)


def test_names_that_collide_keep_the_service_from_being_ready(
    settings: Settings, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    colliding = renamed(catalog, mnist_classifier="fashion/mnist-classifier")
    monkeypatch.setattr(Catalog, "load", lambda *_: colliding)
    told: list[str] = []
    with TestClient(create_app(settings, on_failure=told.append)) as client:
        while not told:
            client.get("/healthz")
        assert_problem(client.get("/readyz"), 503, "rename one of them")


HOSTILE_NAMES = {
    "a parent": "%2e%2e",
    "parents": "..%2f../..%2f../etc/passwd",
    "parents, encoded": "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "parents, encoded twice": "%252e%252e%252fmanifest.json",
    "an absolute path": "%2fetc%2fpasswd",
    "another system's path": "..%5c..%5cwindows",
    "NUL": "mnist-classifier%00",
    "a new line": "mnist-classifier%0d%0aX-Injected:%20yes",
    "no UTF-8": "%ff%fe",
    "the name in full-width letters": "%ef%bd%8dnist-classifier",
    "the manifest's name of a graph": "mnist%2fclassifier",
    "a file beside it": "mnist-classifier.onnx",
    "10,000 letters": "a" * 10_000,
    "nothing": "",
    "a blank": "%20",
    "another case": "MNIST-classifier",
    "a method of Python": "__class__",
}
ROUTES = (
    ("POST", "/v2/models/{}/infer"),
    ("GET", "/v2/models/{}"),
    ("GET", "/v2/models/{}/config"),
    ("GET", "/v2/models/{}/versions/1/stats"),
    ("GET", "/v2/models/mnist-classifier/versions/{}"),
    ("GET", "/samples/{}/1"),
    ("POST", "/classify?dataset={}"),
    ("POST", "/classify?defense={}"),
    ("GET", "/results?dataset={}"),
)


@pytest.mark.parametrize(("method", "route"), ROUTES)
def test_a_hostile_name_is_unknown_and_touches_no_file(client: TestClient, method: str, route: str) -> None:
    app = client.app
    assert isinstance(app, FastAPI)
    catalog = state_of(app).catalog
    assert catalog is not None
    catalog.warm_rest()  # else the service may open graphs meanwhile, which it does behind readiness
    for found, name in HOSTILE_NAMES.items():
        with no_file_is_touched():
            answer = client.request(method, route.format(name))
        assert answer.status_code in {404, 405, 422}, (found, answer.text)
        assert_problem(answer, answer.status_code)
        assert len(answer.text) < 15_000, found
        assert "x-injected" not in answer.headers
