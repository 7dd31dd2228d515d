"""GET /models tells what is there, what is loaded, and on which device."""

from __future__ import annotations

from fastapi.testclient import TestClient

from service.app import create_app
from service.catalog import Catalog
from service.settings import Settings
from tests.service.conftest import wait_until_ready


def test_every_graph_of_the_manifest_is_told(client: TestClient, catalog: Catalog) -> None:
    answer = client.get("/models").json()
    told = {graph["name"]: graph for part in answer["datasets"].values() for graph in part["graphs"]}
    assert set(told) == {graph.name for graph in catalog.manifest.graphs}
    classifier = told["mnist-classifier"]
    assert classifier["sha256"] == catalog.manifest.graph("mnist", "classifier").sha256
    (weights,) = catalog.manifest.graph("mnist", "classifier").weights
    assert classifier["weights"] == [{"file": "mnist/mnist-classifier.bin", "sha256": weights.sha256}]
    assert (classifier["clean_accuracy"], classifier["accuracy_images"]) == (0.99, 10000)
    assert classifier["parameters"] == 7840
    assert told["mnist-purifier-autoencoder"]["clean_accuracy"] is None


def test_the_runtime_is_told_as_asked_and_as_got(client: TestClient, catalog: Catalog) -> None:
    assert client.get("/models").json()["runtime"] == {
        "device_asked": "cpu",
        "providers": ["CPUExecutionProvider"],
        "onnxruntime": catalog.runtime.version,
        "threads": 1,
        "precision_asked": "auto",
        "precision": "fp32",
    }


def test_classes_and_defenses_are_told(client: TestClient) -> None:
    datasets = client.get("/models").json()["datasets"]
    assert datasets["mnist"]["defenses"] == ["autoencoder", "distillation", "puvae", "none"]
    assert datasets["fashion-mnist"]["defenses"] == ["autoencoder", "none"]
    assert datasets["fashion-mnist"]["class_names"][3] == "fashion-mnist 3"


def test_a_graph_is_loaded_from_its_first_use_on(settings: Settings) -> None:
    def puvae(client: TestClient) -> tuple[bool, str | None]:
        graphs = client.get("/models").json()["datasets"]["mnist"]["graphs"]
        graph = next(graph for graph in graphs if graph["name"] == "mnist-purifier-puvae")
        return graph["loaded"], graph["provider"]

    with TestClient(create_app(settings)) as client:
        wait_until_ready(client)
        assert puvae(client) == (False, None)
        client.post("/latency/benchmark?defense=puvae&repeats=1")
        assert puvae(client) == (True, "CPUExecutionProvider")


def test_what_the_operator_has_not_switched_on_is_told(settings: Settings, client: TestClient) -> None:
    assert client.get("/models").json()["switched_off"] == []
    calm = settings.model_copy(update={"attacks": False, "benchmarks": False})
    with TestClient(create_app(calm)) as other:
        wait_until_ready(other)
        assert other.get("/models").json()["switched_off"] == ["/attack", "/latency/benchmark"]
