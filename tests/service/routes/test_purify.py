"""POST /purify gives the purified image as a PNG, or as JSON with both answers."""

from __future__ import annotations

import base64

import numpy as np
from fastapi.testclient import TestClient

from service.catalog import Catalog
from service.images import encode_png, from_bytes
from tests.service.asking import assert_problem, digit, pixels_of, png
from tests.service.tiny_models import image_of

PNG = {"content-type": "image/png"}


def test_the_default_is_a_png_with_the_evidence_in_headers(client: TestClient, catalog: Catalog) -> None:
    response = client.post("/purify", content=digit(), headers=PNG)
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    purifier = catalog.purifier("mnist", "autoencoder")
    assert purifier is not None
    image = from_bytes(image_of("mnist", 3))[None, None]
    assert response.content == encode_png(purifier.purify(image))
    assert response.headers["x-label-before"] == response.headers["x-label-after"] == "3"
    assert response.headers["x-disagreement"] == "false"
    assert float(response.headers["x-residual-l2"]) > float(response.headers["x-residual-linf"]) > 0
    assert response.headers["vary"] == "Accept"


def test_json_holds_the_same_image_and_evidence(client: TestClient) -> None:
    faint = png(image_of("mnist", 4, background=90, band=110))
    alone = client.post("/purify", content=faint, headers=PNG)
    answer = client.post("/purify", content=faint, headers={**PNG, "accept": "application/json"}).json()
    assert base64.b64decode(answer["image_png"]) == alone.content
    assert (answer["before"]["label"], answer["after"]["label"]) == (4, 3)
    assert (alone.headers["x-label-before"], alone.headers["x-label-after"]) == ("4", "3")
    assert answer["evidence"]["disagreement"] is True
    assert alone.headers["x-disagreement"] == "true"
    assert set(answer["timings_ms"]) == {"decode", "purify", "classify", "total"}
    assert len(answer["models"]) == 2


def test_without_a_defense_the_decoded_image_comes_back(client: TestClient) -> None:
    response = client.post("/purify?defense=none", content=digit(), headers=PNG)
    assert np.array_equal(pixels_of(response.content), image_of("mnist", 3))
    assert response.headers["x-residual-l2"] == "0"


def test_a_defense_that_gives_no_image_back_is_refused(client: TestClient) -> None:
    response = client.post("/purify?defense=distillation", content=digit(), headers=PNG)
    assert_problem(response, 422, "'distillation' of mnist is another classifier", "allowed: autoencoder, puvae, none")
    assert_problem(client.post("/purify?defense=wall", content=digit(), headers=PNG), 422, "unknown defense 'wall'")


def test_a_purified_image_can_be_classified(client: TestClient) -> None:
    purified = client.post("/purify", content=digit(), headers=PNG).content
    assert client.post("/classify?defense=none", content=purified, headers=PNG).json()["label"] == 3
