"""Fixtures of the service's tests: tiny models, a catalogue of them, and a client of the application."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.catalog import Catalog
from service.settings import ENV_PREFIX, Settings
from tests.service import tiny_models


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def catalog(models_dir: Path) -> Catalog:
    return Catalog.load(models_dir, "cpu", 1)


@pytest.fixture(scope="session")
def settings(models_dir: Path) -> Settings:
    return Settings(models_dir=models_dir, device="cpu", threads=1, max_body_bytes=100_000)


@pytest.fixture
def with_slow(models_dir: Path, tmp_path: Path, settings: Settings) -> Settings:
    """Settings of tiny models among which 'puvae' goes for slow."""
    folder = tmp_path / "models"
    shutil.copytree(models_dir, folder)
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    for graph in content["graphs"]:
        graph["slow"] = graph["defense"] == "puvae"
    path.write_text(json.dumps(content))
    return settings.model_copy(update={"models_dir": folder})


@pytest.fixture(scope="session")
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        wait_until_ready(client)
        yield client


def wait_until_ready(client: TestClient) -> None:
    deadline = time.monotonic() + 20
    while client.get("/readyz").status_code != 200:
        assert time.monotonic() < deadline, client.get("/readyz").text
        time.sleep(0.01)
