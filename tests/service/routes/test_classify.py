"""POST /classify says what the picture is, with and without the defense."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.catalog import Catalog
from tests.service.asking import digit, png
from tests.service.tiny_models import image_of

PNG = {"content-type": "image/png"}


def classify(client: TestClient, data: bytes | None = None, **query: Any) -> dict[str, Any]:
    response = client.post("/classify", params=query, content=data or digit(), headers=PNG)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


@pytest.mark.parametrize("dataset", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("label", [0, 3, 9])
def test_the_class_is_named(client: TestClient, dataset: str, label: int) -> None:
    answer = classify(client, digit(label, dataset), dataset=dataset)
    assert answer["label"] == answer["undefended"]["label"] == label
    assert answer["class_name"] == f"{dataset} {label}"
    assert answer["confidence"] == answer["probabilities"][label]
    assert sum(answer["probabilities"]) == pytest.approx(1)
    assert (answer["dataset"], answer["defense"]) == (dataset, "autoencoder")


def test_a_form_is_answered_as_the_raw_picture_is(client: TestClient) -> None:
    form = client.post("/classify", files={"file": ("three.png", digit(), "image/png")}).json()
    assert form["probabilities"] == classify(client)["probabilities"]


def test_a_purifier_that_changes_the_answer_is_seen(client: TestClient) -> None:
    faint = png(image_of("mnist", 4, background=90, band=110))
    answer = classify(client, faint)
    assert (answer["label"], answer["undefended"]["label"]) == (3, 4)
    assert answer["evidence"]["disagreement"] is True
    assert answer["evidence"]["residual_l2"] > answer["evidence"]["residual_linf"] > 0


def test_without_a_defense_there_is_nothing_to_purify(client: TestClient) -> None:
    answer = classify(client, defense="none", seed=3)
    undefended = {name: answer[name] for name in ("label", "class_name", "confidence")}
    assert answer["undefended"] == undefended
    assert answer["evidence"] == {"residual_l2": 0, "residual_linf": 0, "disagreement": False}
    assert answer["timings_ms"]["purify"] == 0
    assert list(answer["models"]) == ["mnist-classifier"]


def test_another_classifier_answers_beside_the_plain_one(client: TestClient) -> None:
    answer = classify(client, digit(0), defense="distillation")
    assert (answer["label"], answer["undefended"]["label"]) == (1, 0)
    assert answer["evidence"] == {"residual_l2": 0, "residual_linf": 0, "disagreement": True}
    assert answer["timings_ms"]["purify"] == 0
    assert set(answer["models"]) == {"mnist-classifier", "mnist-classifier-distillation"}


def test_the_same_seed_gives_the_same_answer_and_none_is_noiseless(client: TestClient) -> None:
    def probabilities(**query: Any) -> list[float]:
        values: list[float] = classify(client, **query)["probabilities"]
        return values

    assert probabilities() == probabilities()
    assert probabilities(seed=0) == probabilities(seed=0) != probabilities()
    assert probabilities(seed=2**32 - 1) != probabilities(seed=0)


def test_the_answer_names_the_graphs_by_their_hashes(client: TestClient, catalog: Catalog) -> None:
    hashes = {graph.name: graph.sha256 for graph in catalog.manifest.graphs}
    models = classify(client)["models"]
    assert set(models) == {"mnist-classifier", "mnist-purifier-autoencoder"}
    assert models.items() <= hashes.items()


def test_the_stages_take_no_longer_than_the_whole(client: TestClient) -> None:
    timings = classify(client)["timings_ms"]
    assert set(timings) == {"decode", "purify", "classify", "total"}
    assert 0 < timings["decode"] + timings["purify"] + timings["classify"] <= timings["total"]


def test_a_further_defense_is_loaded_on_first_use(client: TestClient) -> None:
    assert "mnist-purifier-puvae" in classify(client, defense="puvae")["models"]
