"""Models that answer nonsense are found before the first request."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service import selftest
from service.app import create_app
from service.catalog import Catalog
from service.errors import SelfTestError
from service.inference import Session
from service.manifest import sha256
from service.settings import Settings
from tests.service.asking import assert_problem


@pytest.fixture
def mislabelled(models_dir: Path, tmp_path: Path) -> Path:
    """The tiny models with samples whose labels are shifted by one: to them, the classifier is always wrong."""
    folder = tmp_path / "models"
    shutil.copytree(models_dir, folder)
    file = folder / "mnist" / "samples.npz"
    with np.load(file) as samples:
        images, labels = samples["images"], samples["labels"]
    np.savez_compressed(file, images=images, labels=(labels + 1) % 10)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["samples"][0]["sha256"] = sha256(file)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_sound_models_pass(catalog: Catalog) -> None:
    selftest.check(catalog)


def test_a_failed_self_test_refuses_readiness_with_a_sentence(mislabelled: Path) -> None:
    sentences: list[str] = []
    settings = Settings(models_dir=mislabelled, device="cpu", threads=1)
    with TestClient(create_app(settings, on_failure=sentences.append)) as client:
        while not sentences:
            client.get("/healthz")
        assert_problem(client.get("/readyz"), 503, "self-test: mnist-classifier names 0 of 30 images", "at least 27")
        assert_problem(client.post("/classify", content=b"picture"), 503, "self-test")
    assert len(sentences) == 1


def test_an_engine_that_overflows_is_found(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Session.run

    def overflowing(session: Session, **inputs: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> object:
        return {name: tensor * np.float32(np.nan) for name, tensor in run(session, **inputs).items()}

    monkeypatch.setattr(Session, "run", overflowing)
    with pytest.raises(SelfTestError, match=r"mnist-classifier answers NaN or infinity on mnist/samples\.npz"):
        selftest.check(catalog)


@pytest.mark.parametrize(("accuracy", "n", "fewest"), [(1.0, 50, 50), (0.0, 50, 0), (0.99, 30, 27), (0.9, 100, 78)])
def test_chance_is_allowed_for(accuracy: float, n: int, fewest: int) -> None:
    assert selftest.fewest_right(accuracy, n) == fewest
