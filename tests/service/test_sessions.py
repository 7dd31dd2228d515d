"""A graph is opened once, if its files are still the manifest's; what asks for one that cannot be opened is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service import manifest as manifests
from service.app import create_app
from service.errors import GraphError
from service.inference import Interruption
from service.manifest import Graph
from service.runtime import Runtime
from service.sessions import Sessions
from service.settings import Settings
from tests.service.asking import assert_problem, digit
from tests.service.conftest import wait_until_ready
from tests.service.tiny_models import NOISE

INFER = {"inputs": [{"name": "images", "datatype": "FP32", "shape": [1, 1, 28, 28], "data": 784 * [0]}]}
GRADIENT = "mnist/mnist-classifier_gradient.onnx"
ASKING: dict[str, Callable[[TestClient], Any]] = {
    "/classify": lambda client: client.post("/classify?defense=puvae", content=digit()),
    "/purify": lambda client: client.post("/purify?defense=puvae", content=digit()),
    "/v2": lambda client: client.post("/v2/models/mnist-purifier-puvae/infer", json=INFER),
    "/attack": lambda client: client.post("/attack?sample=1&method=fgsm&defense=puvae"),
    "/latency/benchmark": lambda client: client.post("/latency/benchmark?defense=puvae&repeats=1"),
}


@pytest.fixture
def folder(models_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(models_dir, tmp_path / "models"))


@pytest.fixture
def client(settings: Settings, folder: Path) -> Iterator[TestClient]:
    served = settings.model_copy(update={"models_dir": folder})
    with TestClient(create_app(served), raise_server_exceptions=False) as client:
        wait_until_ready(client)
        yield client


def puvae(folder: Path) -> Graph:
    return manifests.read(folder).graph("mnist", "purifier", "puvae")


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("change", [Path.unlink, zeroed])
@pytest.mark.parametrize("suffix", [".onnx", ".bin"])
def test_a_file_that_is_gone_or_changed_is_not_opened_until_it_is_restored(
    folder: Path, models_dir: Path, change: Callable[[Path], None], suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    sessions, graph = Sessions(folder, Runtime("cpu", 1)), puvae(folder)
    path = (folder / graph.file).with_suffix(suffix)
    change(path)
    with pytest.raises(
        GraphError, match=r"'mnist-purifier-puvae' cannot be opened: a file of it is missing, or is not"
    ):
        sessions.of(graph)
    (line,) = caplog.messages
    assert str(path) in line
    shutil.copy((models_dir / graph.file).with_suffix(suffix), path)
    assert sessions.of(graph) is sessions.of(graph)


@pytest.mark.parametrize("name", ASKING)
def test_what_asks_for_a_changed_file_is_told_and_all_else_is_served(
    client: TestClient, folder: Path, name: str
) -> None:
    zeroed((folder / puvae(folder).file).with_suffix(".bin"))
    refused = ASKING[name](client)
    assert_problem(refused, 503, "graph 'mnist-purifier-puvae' cannot be opened: a file of it is missing, or is not")
    assert str(folder) not in refused.text
    assert int(refused.headers["retry-after"]) > 0
    assert client.post("/classify", content=digit()).json()["label"] == 3
    assert client.get("/readyz").status_code == 200


def test_what_could_not_be_opened_is_told_as_unavailable_until_it_is_restored(
    client: TestClient, folder: Path, models_dir: Path
) -> None:
    path = (folder / puvae(folder).file).with_suffix(".bin")
    name = "mnist-purifier-puvae"

    def told() -> tuple[bool, str, str]:
        (entry,) = [entry for entry in client.post("/v2/repository/index").json() if entry["name"] == name]
        return client.get(f"/v2/models/{name}/ready").json()["ready"], entry["state"], entry["reason"]

    assert told() == (True, "READY", "")
    zeroed(path)
    ASKING["/v2"](client)
    ready, state, reason = told()
    assert (ready, state, "cannot be opened" in reason) == (False, "UNAVAILABLE", True)
    shutil.copy((models_dir / puvae(folder).file).with_suffix(".bin"), path)
    assert ASKING["/v2"](client).status_code == 200
    assert told() == (True, "READY", "")


def cut(folder: Path, file: str) -> None:
    """Half of the file, which the manifest takes for the whole."""
    path = folder / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    content = json.loads((folder / manifests.FILE_NAME).read_text())
    (graph,) = [graph for graph in content["graphs"] if graph["file"] == file]
    graph["sha256"] = manifests.sha256(path)
    (folder / manifests.FILE_NAME).write_text(json.dumps(content))


def test_a_graph_that_does_not_open_behind_readiness_stops_nothing_else(
    settings: Settings, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cut(folder, GRADIENT)
    served = settings.model_copy(update={"models_dir": folder})
    with TestClient(create_app(served), raise_server_exceptions=False) as client:
        wait_until_ready(client)
        refused = client.post("/attack?sample=1")
        assert_problem(refused, 503, "graph 'mnist-classifier_gradient' cannot be opened: ONNX Runtime refuses it")
        assert client.post("/attack?sample=1&dataset=fashion-mnist").status_code == 200
        assert client.post("/classify", content=digit()).json()["label"] == 3
        assert client.get("/readyz").status_code == 200
    lines = [record for record in caplog.records if "mnist-classifier_gradient" in record.getMessage()]
    assert lines
    assert all(record.exc_info is None and "\n" not in record.getMessage() for record in lines)


def test_who_asks_first_and_gives_up_does_not_interrupt_the_opening(folder: Path) -> None:
    interruption, graph = Interruption(), puvae(folder)
    interruption.interrupt()
    with interruption:
        session = Sessions(folder, Runtime("cpu", 1)).of(graph)
        with pytest.raises(Exception, match="terminate flag"):
            session.run(images=np.zeros((1, 1, 28, 28), np.float32), noise=np.zeros((1, NOISE), np.float32))
