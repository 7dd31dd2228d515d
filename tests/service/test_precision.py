"""What the device is fast at answers, where it is shipped, or what was asked for; attacks stay fp32."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service import manifest as manifests
from service import precision
from service.app import create_app
from service.catalog import Catalog
from service.errors import ManifestError
from service.images import from_bytes
from service.inference import Session
from service.precision import PrecisionChoice, choose, has_fast_int8
from service.runtime import Runtime
from service.settings import Settings
from tests.service.asking import digit
from tests.service.conftest import wait_until_ready
from tests.service.tiny_models import DATASETS, image_of

PNG = {"content-type": "image/png"}


@pytest.fixture
def with_int8(models_dir: Path, tmp_path: Path) -> Path:
    """The tiny models, and as int8 classifiers those of the other data set, which name the bands in reverse."""
    folder = tmp_path / "models"
    shutil.copytree(models_dir, folder)
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    plain = ("classifier", "none")
    exact = {graph["dataset"]: graph for graph in content["graphs"] if (graph["kind"], graph["defense"]) == plain}
    content["graphs"] += [
        {
            **exact[other],
            "name": f"{dataset}-int8",
            "dataset": dataset,
            "precision": "int8",
            "stored_precision": "int8",
            "accuracy": None,  # with its own, the self-test would find what is wrong here on purpose
        }
        for dataset, other in zip(DATASETS, reversed(DATASETS), strict=True)
    ]
    path.write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("words", "fast"),
    [
        ("flags : fpu avx512f avx512_vnni", True),
        ("flags : avx2 avx_vnni", True),
        ("flags : amx_tile amx_int8", True),
        ("Features : fp asimd asimddp", True),
        ("flags : avx2 avx512f avx512_vnnix", False),
    ],
)
def test_fast_int8_stands_in_the_processors_flags(tmp_path: Path, words: str, fast: bool) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor : 0\n{words}\n")
    assert has_fast_int8(cpuinfo) is fast


def test_where_the_system_tells_nothing_int8_is_not_fast(tmp_path: Path) -> None:
    assert not has_fast_int8(tmp_path / "cpuinfo")


BOTH = {"fp32", "int8", "fp16"}


@pytest.mark.parametrize(
    ("asked", "on_cuda", "fast_int8", "shipped", "expected"),
    [
        ("auto", False, True, BOTH, "int8"),
        ("auto", False, False, BOTH, "fp32"),
        ("auto", False, True, {"fp32", "fp16"}, "fp32"),
        ("auto", True, True, BOTH, "fp16"),
        ("auto", True, True, {"fp32", "int8"}, "fp32"),
        ("fp32", False, True, BOTH, "fp32"),
        ("fp32", True, True, BOTH, "fp32"),
        ("int8", False, False, BOTH, "int8"),
        ("int8", True, False, BOTH, "int8"),
        ("fp16", False, True, BOTH, "fp16"),
    ],
)
def test_auto_is_what_the_device_is_fast_at_of_what_is_shipped(
    asked: PrecisionChoice,
    on_cuda: bool,
    fast_int8: bool,
    shipped: set[str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(precision, "has_fast_int8", lambda: fast_int8)
    assert choose(asked, on_cuda=on_cuda, shipped=shipped) == expected


@pytest.mark.parametrize("fast", [False, True])
def test_int8_on_a_processor_that_is_bad_at_it_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fast: bool
) -> None:
    monkeypatch.setattr(precision, "has_fast_int8", lambda: fast)
    choose("int8", on_cuda=False, shipped=BOTH)
    assert ("may answer worse" in caplog.text) is not fast


@pytest.mark.parametrize("on_cuda", [False, True])
def test_fp16_without_a_gpu_is_warned_of(caplog: pytest.LogCaptureFixture, on_cuda: bool) -> None:
    choose("fp16", on_cuda=on_cuda, shipped=BOTH)
    assert ("fp16 was asked for without a GPU" in caplog.text) is not on_cuda


def test_a_precision_is_shipped_where_every_data_set_has_it(with_int8: Path) -> None:
    manifest = manifests.read(with_int8)
    assert manifest.precisions == {"fp32", "int8"}
    one = next(graph for graph in manifest.graphs if graph.precision == "int8")
    assert manifest.model_copy(
        update={"graphs": tuple(graph for graph in manifest.graphs if graph != one)}
    ).precisions == {"fp32"}


@pytest.mark.parametrize(("got", "expected"), [("CUDAExecutionProvider", "fp16"), ("CPUExecutionProvider", "fp32")])
def test_auto_is_fp16_where_a_gpu_was_had_and_not_where_the_engine_only_offers_one(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch, got: str, expected: str
) -> None:
    manifest = manifests.read(models_dir)
    half = [
        graph.model_copy(update={"name": f"{graph.name}-fp16", "precision": "fp16"})
        for graph in manifest.graphs
        if (graph.kind, graph.defense) == ("classifier", "none")
    ]
    runtime, cpu = Runtime("auto", 1), Runtime("cpu", 1)

    def on_what_was_got(path: Path) -> Session:
        session = cpu.open(path)
        session.provider = got
        return session

    monkeypatch.setattr(precision, "has_fast_int8", lambda: False)
    monkeypatch.setattr(runtime, "open", on_what_was_got)
    monkeypatch.setattr(runtime, "uses_cuda", True)
    shipped = manifest.model_copy(update={"graphs": (*manifest.graphs, *half)})
    assert Catalog(models_dir, shipped, runtime, "auto").precision == expected


def test_int8_where_none_is_shipped_is_refused(models_dir: Path) -> None:
    with pytest.raises(ManifestError, match=r"no classifier for dataset 'mnist'.*precision 'int8'"):
        Catalog.load(models_dir, "cpu", 1, "int8")


def test_the_catalogue_answers_in_the_precision_asked_for_and_shows_attackers_fp32(with_int8: Path) -> None:
    image = from_bytes(image_of("mnist", 2))[None, None]
    exact, quick = (Catalog.load(with_int8, "cpu", 1, asked) for asked in ("fp32", "int8"))
    assert exact.classifier("mnist").logits(image).argmax() == 2
    assert quick.classifier("mnist").logits(image).argmax() == 7
    for seen in (
        quick.white_box("mnist"),
        quick.black_box("mnist", "none"),
        quick.classifier("mnist", precision="fp32"),
    ):
        assert np.array_equal(seen.logits(image), exact.classifier("mnist").logits(image))


def test_what_is_served_is_told_and_attacks_are_judged_in_fp32(with_int8: Path, settings: Settings) -> None:
    quick = settings.model_copy(update={"models_dir": with_int8, "precision": "int8"})
    with TestClient(create_app(quick)) as client:
        wait_until_ready(client)
        for told in (client.get("/readyz").json(), client.get("/models").json()["runtime"]):
            assert (told["precision_asked"], told["precision"]) == ("int8", "int8")
        classified = client.post("/classify?defense=none", content=digit(2), headers=PNG).json()
        assert (classified["label"], list(classified["models"])) == (7, ["mnist-int8"])
        attacked = client.post("/attack?defense=none&method=fgsm", content=digit(2), headers=PNG).json()
        assert (attacked["clean"]["label"], list(attacked["models"])) == (2, ["mnist-classifier"])
