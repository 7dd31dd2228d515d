"""Models that answer nonsense are found before the first request."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service import selftest
from service.app import create_app
from service.catalog import Catalog
from service.errors import SelfTestError
from service.inference import Session
from service.settings import Settings
from tests.service.asking import assert_problem


@pytest.fixture
def with_golden(models_dir: Path, tmp_path: Path) -> Callable[..., Path]:
    """The tiny models, whose classifiers once named the samples by their labels but for `wrong` of them."""

    def write(wrong: int) -> Path:
        folder = tmp_path / "models"
        shutil.copytree(models_dir, folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        for graph in manifest["graphs"]:
            if graph["kind"] == "classifier":
                with np.load(folder / graph["dataset"] / "samples.npz") as samples:
                    labels = samples["labels"][: selftest.SAMPLES]
                graph["golden"] = ((labels + (np.arange(len(labels)) < wrong)) % 10).tolist()
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    return write


@pytest.mark.parametrize(("wrong", "passes"), [(0, True), (2, True), (3, False)])
def test_two_answers_may_be_other_ones_than_at_the_export(
    with_golden: Callable[..., Path], wrong: int, passes: bool
) -> None:
    catalog = Catalog.load(with_golden(wrong), "cpu", 1)
    with nullcontext() if passes else pytest.raises(SelfTestError, match=r"27 of 30 images .* at least 28 are needed"):
        selftest.check(catalog)


def test_a_failed_self_test_refuses_readiness_with_a_sentence(with_golden: Callable[..., Path]) -> None:
    sentences: list[str] = []
    settings = Settings(models_dir=with_golden(30), device="cpu", threads=1)
    with TestClient(create_app(settings, on_failure=sentences.append)) as client:
        while not sentences:
            client.get("/healthz")
        assert_problem(client.get("/readyz"), 503, "self-test: mnist-classifier names 0 of 30 images", "at least 28")
        assert_problem(client.post("/classify", content=b"picture"), 503, "self-test")
    assert len(sentences) == 1


def test_an_engine_that_overflows_is_found(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Session.run

    def overflowing(session: Session, **inputs: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> object:
        return {name: tensor * np.float32(np.nan) for name, tensor in run(session, **inputs).items()}

    monkeypatch.setattr(Session, "run", overflowing)
    with pytest.raises(SelfTestError, match=r"mnist-classifier answers NaN or infinity on mnist/samples\.npz"):
        selftest.check(catalog)
