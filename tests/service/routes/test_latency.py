"""GET /latency counts what was answered; POST /latency/benchmark gives Table 3."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.catalog import Catalog
from service.settings import Settings
from tests.service.asking import digit
from tests.service.conftest import wait_until_ready
from tests.service.test_records import COLUMNS

PNG = {"content-type": "image/png"}


def stages(client: TestClient) -> dict[tuple[str, str], dict[str, Any]]:
    answer = client.get("/latency").json()
    return {(item["endpoint"], item["stage"]): item for item in answer["stages"]}


def test_each_stage_of_each_endpoint_is_counted(settings: Settings) -> None:
    with TestClient(create_app(settings)) as client:
        wait_until_ready(client)
        for _ in range(3):
            client.post("/classify", content=digit(), headers=PNG)
        client.get("/samples/mnist/1")
        client.get("/samples/mnist/2")
        seen = stages(client)
    for stage in ("receive", "queue", "decode", "purify", "classify", "total"):
        reading = seen["POST /classify", stage]
        assert reading["since_start"]["count"] == reading["last_minute"]["count"] == 3
        values = [reading["since_start"][name] for name in ("p50_ms", "p90_ms", "p95_ms", "p99_ms")]
        assert values == sorted(values)
    assert seen["GET /samples/{dataset}/{n}", "total"]["since_start"]["count"] == 2


def test_refusals_and_unknown_paths_are_not_counted(settings: Settings) -> None:
    with TestClient(create_app(settings)) as client:
        wait_until_ready(client)
        client.post("/classify", content=b"x", headers=PNG)
        client.get("/samples/mnist/99")
        for number in range(5):
            client.get(f"/nowhere/{number}")
        assert {endpoint for endpoint, _ in stages(client)} <= {"GET /readyz", "GET /latency"}


@pytest.mark.parametrize(("defense", "expected"), [("autoencoder", 3), ("none", 1)])
def test_the_benchmark_times_each_stage_alone(client: TestClient, defense: str, expected: int) -> None:
    query: dict[str, Any] = {"dataset": "fashion-mnist", "defense": defense, "batch": 4, "repeats": 5}
    answer = client.post("/latency/benchmark", params=query).json()
    assert (answer["dataset"], answer["threads"]) == ("fashion-mnist", 1)
    assert [row["stage"] for row in answer["rows"]] == (
        ["purify", "classify", "pipeline"] if expected == 3 else ["classify"]
    )
    for row in answer["rows"]:
        assert (row["batch"], row["n"], row["precision"]) == (4, 5, "fp32")
        assert row["device"] == "CPUExecutionProvider"
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert row["per_image_ms"] == pytest.approx(row["p50_ms"] / 4, abs=1e-4)


def test_every_batch_goes_with_the_default_repeats(client: TestClient) -> None:
    answer = client.post("/latency/benchmark?defense=none&batch=64", content=b"")
    assert answer.json()["rows"][0]["n"] == 50


def test_of_all_defenses_it_tells_what_they_hold_beside_what_they_cost(with_slow: Settings) -> None:
    """Recorded are PGD and no attack, of the auto-encoder alone; an adaptive row is of another question."""
    catalog = Catalog.load(with_slow.models_dir, "cpu", 1)
    graphs = [catalog.manifest.graph("mnist", *place) for place in (("classifier",), ("purifier", "autoencoder"))]
    artefact = "+".join(f"{graph.name}@{graph.weights_sha256[:12]}" for graph in graphs)
    rows = [("pgd", 0.15, "adaptive", 9000, 0.1), ("pgd", 0.15, "oblivious", 50, 0.5)]
    rows += [("pgd", 0.15, "oblivious", 400, 0.9), ("pgd", 0.3, "oblivious", 900, 0.6), ("none", 0, "", 1000, 0.99)]
    lines = [
        f"mnist,vgg16,autoencoder,{attack},linf,{eps},{knowledge},zero,40,0.01,1,1,0,test,{n},0.99,{share},"
        f"{share},{share},{artefact},fp32,onnxruntime,cpu,abc"
        for attack, eps, knowledge, n, share in rows
    ]
    (with_slow.models_dir / "results.csv").write_text("\n".join([COLUMNS, *lines]) + "\n")
    with TestClient(create_app(with_slow)) as client:
        wait_until_ready(client)
        answer = client.post("/latency/benchmark?defense=all&repeats=2").json()
    names = ["autoencoder", "distillation", "puvae", "none"]
    assert list(dict.fromkeys(row["defense"] for row in answer["rows"])) == names
    found = {row.pop("defense"): row for row in answer["accuracies"]}
    assert list(found) == names
    pgd, clean = (
        {"accuracy": share, "ci_low": share, "ci_high": share, "n": n} for share, n in ((0.9, 400), (0.99, 1000))
    )
    assert found["autoencoder"] == {"clean": clean, "fgsm": None, "pgd": pgd}
    assert found["puvae"] == {"clean": None, "fgsm": None, "pgd": None}


def test_the_papers_latencies_stand_beside_it(client: TestClient) -> None:
    answer = client.post("/latency/benchmark?repeats=1").json()
    paper = {row["defense"]: (row["seconds_per_image"], row["robust_accuracy"]) for row in answer["paper"]}
    assert paper == {"defense_gan": (14.80, 0.8529), "puvae": (0.11, 0.8133), "autoencoder": (0.008, 0.9209)}
    assert "other hardware" in answer["paper_note"]
