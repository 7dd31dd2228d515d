"""The application as a whole: starting, failing, its errors and its documentation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from threading import Event
from typing import Any

import anyio
import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.batching import Batcher
from service.catalog import Catalog, Classifier
from service.errors import BusyError, ManifestError
from service.settings import Settings
from service.state import ServiceState
from tests.service.asking import assert_problem, digit
from tests.service.conftest import wait_until_ready

PNG = {"content-type": "image/png"}
ROOT = Path(__file__).parents[2]
IMPORT_ALL = """
import importlib, pkgutil, sys
import service
for module in pkgutil.walk_packages(service.__path__, "service."):
    importlib.import_module(module.name)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "torchvision", "training", "onnx"}))
print(sum(name.startswith("service.") for name in sys.modules))
"""


def test_no_module_of_the_service_imports_torch_or_training() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    found, count = done.stdout.splitlines()
    assert found == "[]"
    assert int(count) > 25


def test_scipy_waits_for_the_attacks_that_need_it() -> None:
    """It was a third of what the service imports before it can answer."""
    code = "import sys, service.__main__; print('service.app' in sys.modules, 'scipy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["True", "False"]


def test_it_lives_but_is_not_ready_while_the_models_are_loaded(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, load = Event(), Catalog.load

    def slow(*arguments: Any) -> Catalog:
        assert release.wait(20)
        return load(*arguments)

    monkeypatch.setattr(Catalog, "load", slow)
    with TestClient(create_app(settings)) as client:
        assert client.get("/healthz").json() == {"status": "alive"}
        for method, path in (
            ("GET", "/readyz"),
            ("POST", "/classify"),
            ("GET", "/samples"),
            ("GET", "/models"),
        ):
            early = client.request(method, path)
            assert_problem(early, 503, "being loaded")
            assert int(early.headers["retry-after"]) > 0
        release.set()
        wait_until_ready(client)
        ready = client.get("/readyz").json()
    assert (ready["status"], ready["device_asked"]) == ("ready", "cpu")
    assert ready["providers"] == ["CPUExecutionProvider"]


def test_why_the_models_could_not_be_loaded_is_told(settings: Settings, tmp_path: Path) -> None:
    told: list[str] = []
    empty = settings.model_copy(update={"models_dir": tmp_path})
    with TestClient(create_app(empty, on_failure=told.append)) as client:
        with anyio.from_thread.start_blocking_portal() as portal:
            portal.call(_until, lambda: bool(told))
        assert_problem(client.get("/readyz"), 503, "manifest.json does not exist")
        assert client.get("/healthz").status_code == 200
    assert len(told) == 1
    assert "manifest.json does not exist" in told[0]


async def _until(condition: Any) -> None:
    with anyio.fail_after(20):
        while not condition():
            await anyio.sleep(0.01)


def test_an_unforeseen_failure_to_load_says_nothing_internal(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> Catalog:
        raise RuntimeError("secret")

    monkeypatch.setattr(Catalog, "load", fail)
    told: list[str] = []
    with TestClient(create_app(settings, on_failure=told.append)) as client:
        with anyio.from_thread.start_blocking_portal() as portal:
            portal.call(_until, lambda: bool(told))
        assert_problem(client.get("/readyz"), 503, "the log says why")
    assert "secret" not in told[0]
    assert "secret" in caplog.text


def test_from_the_end_on_it_is_not_ready_but_serves(settings: Settings) -> None:
    app = create_app(settings)
    with TestClient(app) as client:
        wait_until_ready(client)
        state: ServiceState = app.state.service
        state.draining = True
        assert_problem(client.get("/readyz"), 503, "shutting down")
        assert client.post("/classify", content=digit(), headers=PNG).status_code == 200
        assert client.get("/healthz").status_code == 200


def test_a_fault_of_ours_is_a_500_that_says_nothing_internal_and_is_raised_for_the_log(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("secret")

    app = create_app(settings)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client, TestClient(app) as raising:
        wait_until_ready(client)
        wait_until_ready(raising)
        with monkeypatch.context() as patch:
            patch.setattr(Classifier, "logits", fail)
            failed = client.post("/classify", content=digit(), headers=PNG)
            assert_problem(failed, 500, "its log says why")
            assert "secret" not in failed.text
            with pytest.raises(RuntimeError, match="secret"):
                raising.post("/classify", content=digit(), headers=PNG)
        assert client.post("/classify", content=digit(), headers=PNG).status_code == 200


def test_a_client_that_hangs_up_is_no_fault_of_ours(client: TestClient) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/classify", "query_string": b"", "headers": []}
    anyio.run(client.app, scope, receive, send)
    assert all(message.get("status", 0) < 500 for message in sent)
    assert client.post("/classify", content=digit(), headers=PNG).status_code == 200


def test_a_full_lane_is_a_503_that_says_when_to_come_back(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: Any) -> Any:
        raise BusyError("all that is allowed")

    monkeypatch.setattr("service.lanes.Lane.run", full)
    busy = client.post("/attack?sample=1")
    assert_problem(busy, 503, "all that is allowed")
    assert busy.headers["retry-after"] == "1"


def test_attacks_do_not_hold_up_classifications(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    release, started = Event(), Event()

    def endless(*_: Any) -> Any:
        started.set()
        assert release.wait(20)
        raise ManifestError("enough")

    monkeypatch.setattr("service.routes.attack.attempt", endless)
    few = settings.model_copy(update={"max_waiting_attacks": 0})
    with TestClient(create_app(few), raise_server_exceptions=False) as client:
        wait_until_ready(client)
        with anyio.from_thread.start_blocking_portal() as portal:
            attack = portal.start_task_soon(anyio.to_thread.run_sync, lambda: client.post("/attack?sample=1"))
            assert started.wait(20)
            assert_problem(client.post("/attack?sample=1"), 503, "1 attack or benchmark requests are running")
            assert_problem(client.post("/latency/benchmark?repeats=1"), 503, "running")
            assert client.post("/classify", content=digit(), headers=PNG).status_code == 200
            release.set()
            assert attack.result(20).status_code == 500


def test_a_wrong_method_is_told_the_right_one(client: TestClient) -> None:
    refused = client.get("/attack")
    assert_problem(refused, 405, "'/attack'", "POST")
    assert refused.headers["allow"] == "POST"


def test_every_parameter_is_documented_with_its_range(client: TestClient) -> None:
    paths: dict[str, Any] = client.get("/openapi.json").json()["paths"]
    operations = {f"{method} {path}": item for path, ops in paths.items() for method, item in ops.items()}
    assert len(operations) == 28
    seen = 0
    for name, operation in operations.items():
        assert operation["description"], name
        refusals = {status: answer for status, answer in operation["responses"].items() if status != "200"}
        assert "500" in refusals, name
        for answer in refusals.values():
            schema = {"$ref": "#/components/schemas/Problem"}
            assert answer["content"] == {"application/problem+json": {"schema": schema}}, name
            assert answer["description"], name
        for parameter in operation.get("parameters", []):
            seen += 1
            assert parameter.get("description"), (name, parameter["name"])
            if parameter["in"] == "path":
                continue  # an index of GET /samples; beyond it is a 404
            kinds = [parameter["schema"], *parameter["schema"].get("anyOf", [])]
            numbers = [kind for kind in kinds if kind.get("type") in {"integer", "number"}]
            bounded = {"minimum", "exclusiveMinimum"}
            assert all(bounded & set(kind) for kind in numbers), (name, parameter["name"])
    assert seen >= 45


def test_bodies_and_pictures_are_documented(client: TestClient) -> None:
    paths: dict[str, Any] = client.get("/openapi.json").json()["paths"]
    for path, required in (("/classify", True), ("/purify", True), ("/attack", False)):
        body = paths[path]["post"]["requestBody"]
        assert body["required"] is required
        assert {"image/png", "image/jpeg", "multipart/form-data"} <= set(body["content"])
    for path in ("/purify", "/attack"):
        answer = paths[path]["post"]["responses"]["200"]
        assert set(answer["content"]) == {"application/json", "image/png"}
        assert len(answer["headers"]) == 5


def test_a_batcher_that_dies_makes_it_unready_until_it_is_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = Batcher._take
    faults = iter([RuntimeError("a fault of the batcher's own")])

    def once(batcher: Batcher[Any, Any, Any]) -> Any:
        for fault in faults:
            raise fault
        return take(batcher)

    with TestClient(create_app(settings)) as client:
        wait_until_ready(client)
        monkeypatch.setattr(Batcher, "_take", once)
        assert_problem(client.post("/classify", content=digit()), 503, "the batcher failed and is being restarted")
        refused = client.get("/readyz")
        assert_problem(refused, 503, "the batcher failed and is being restarted")
        assert refused.headers["retry-after"] == "2"
        wait_until_ready(client)
        assert client.post("/classify", content=digit()).json()["label"] == 3
        assert "purifier_batcher_restarts_total 1.0" in client.get("/metrics").text
