"""GET /samples lists the shipped test images, and each is served with its true label."""

from __future__ import annotations

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.service.asking import pixels_of
from tests.service.tiny_models import PER_CLASS, image_of


@pytest.mark.parametrize("dataset", ["mnist", "fashion-mnist"])
def test_every_listed_sample_is_served_with_its_label(client: TestClient, dataset: str) -> None:
    listing = client.get("/samples").json()["datasets"][dataset]
    assert listing["count"] == len(listing["samples"]) == 10 * PER_CLASS
    assert [sample["index"] for sample in listing["samples"]] == list(range(10 * PER_CLASS))
    for sample in listing["samples"]:
        response = client.get(sample["url"])
        assert response.headers["content-type"] == "image/png"
        assert response.headers["x-label"] == str(sample["label"])
        assert response.headers["x-class-name"] == sample["class_name"] == f"{dataset} {sample['label']}"
        assert np.array_equal(pixels_of(response.content), image_of(dataset, sample["label"]))


def test_only_the_url_of_a_version_is_cached_for_ever(client: TestClient) -> None:
    url = client.get("/samples").json()["datasets"]["mnist"]["samples"][0]["url"]
    plain = url.partition("?")[0]
    assert "immutable" in client.get(url).headers["cache-control"]
    assert "immutable" not in client.get(plain).headers["cache-control"]
    assert "immutable" not in client.get(f"{plain}?v=000000000000").headers["cache-control"]


def test_all_data_sets_are_listed_unless_one_is_asked_for(client: TestClient) -> None:
    everything = client.get("/samples").json()["datasets"]
    assert list(everything) == ["mnist", "fashion-mnist"]
    one = client.get("/samples?dataset=fashion-mnist").json()["datasets"]
    assert one == {"fashion-mnist": everything["fashion-mnist"]}
