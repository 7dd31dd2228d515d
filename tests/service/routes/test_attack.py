"""POST /attack shows the attack, its result and the purifier's answer, replayably."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.attacks import ATTACKS
from tests.service.asking import assert_problem, digit, pixels_of
from tests.service.tiny_models import DATASETS, image_of

PNG = {"content-type": "image/png"}


def attack(client: TestClient, data: bytes | None = None, **query: Any) -> dict[str, Any]:
    if data is None:
        query = {"sample": 3, **query}
    response = client.post("/attack", params=query, content=data, headers=PNG)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def without_timings(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "timings_ms"}


def test_an_attack_on_a_sample_succeeds_and_the_purifier_recovers(client: TestClient) -> None:
    answer = attack(client)
    assert answer["success"] is answer["recovered"] is True
    assert answer["knowledge"] == "oblivious"
    assert answer["true_label"] == answer["clean"]["label"] == answer["purified"]["label"] == 3
    assert answer["adversarial"]["label"] != 3
    assert answer["adversarial"]["class_name"] == f"mnist {answer['adversarial']['label']}"
    assert answer["defended_clean"]["label"] == 3
    assert answer["perturbation"]["linf"] == pytest.approx(0.15, abs=1e-6)
    assert answer["effective_reach"] == 0.15
    assert answer["after_rounding"] == {
        "adversarial_label": answer["adversarial"]["label"],
        "purified_label": 3,
        "success": True,
        "recovered": True,
    }
    assert set(answer["timings_ms"]) == {"decode", "attack", "purify", "classify", "total"}


def test_every_parameter_is_told_as_it_was_used(client: TestClient) -> None:
    assert attack(client)["parameters"] == {
        "dataset": "mnist",
        "defense": "autoencoder",
        "target": "classifier",
        "method": "pgd",
        "norm": "linf",
        "eot": 0,
        "eps": 0.15,
        "steps": 40,
        "step_size": 2.5 * 0.15 / 40,
        "restarts": 1,
        "random_start": True,
        "seed": 0,
        "label": 3,
        "target_label": None,
    }
    chosen: dict[str, Any] = {
        "method": "pgd",
        "norm": "l2",
        "eps": 2.0,
        "steps": 3,
        "step_size": 0.5,
        "restarts": 2,
    }
    more: dict[str, Any] = {
        "random_start": False,
        "seed": 9,
        "label": 3,
        "target_label": 1,
        "target": "pipeline",
    }
    assert attack(client, **chosen, **more)["parameters"].items() >= {**chosen, **more}.items()


def test_a_body_is_attacked_as_the_sample_that_it_shows(client: TestClient) -> None:
    body, sample = attack(client, digit(3), steps=5), attack(client, steps=5)
    assert body["true_label"] is None
    assert without_timings({**body, "true_label": 3}) == without_timings(sample)


def test_each_picture_has_its_ten_probabilities(client: TestClient) -> None:
    answer = attack(client, eps=0.2)
    for role in ("clean", "adversarial", "purified"):
        probabilities = answer[role]["probabilities"]
        assert len(probabilities) == 10
        assert sum(probabilities) == pytest.approx(1)
        assert probabilities[answer[role]["label"]] == max(probabilities) == answer[role]["confidence"]


def test_a_form_is_attacked_too(client: TestClient) -> None:
    response = client.post("/attack?steps=3", files={"file": ("three.png", digit(), "image/png")})
    assert response.json()["clean"]["label"] == 3


def test_fgsm_takes_one_full_step(client: TestClient) -> None:
    answer = attack(client, method="fgsm", eps=0.2)
    assert answer["cost"] == {
        "queries": 0,
        "gradients": 1,
        "loss": pytest.approx(answer["cost"]["loss"]),
        "distance": None,
    }
    assert "steps" not in answer["parameters"]
    assert answer["perturbation"]["linf"] == pytest.approx(0.2, abs=1e-6)


def test_an_adaptive_attack_breaks_what_an_oblivious_one_does_not(client: TestClient) -> None:
    oblivious, adaptive = (attack(client, target=target, eps=0.2) for target in ("classifier", "pipeline"))
    assert adaptive["knowledge"] == "adaptive"
    assert adaptive["success"] is True
    assert adaptive["success"] != adaptive["recovered"]
    assert oblivious["adversarial"]["label"] != 3


def test_a_targeted_attack_reaches_its_target(client: TestClient) -> None:
    answer = attack(client, target_label=8, eps=0.4)
    assert answer["success"] is True
    assert answer["adversarial"]["label"] == 8


def test_l2_keeps_its_length(client: TestClient) -> None:
    answer = attack(client, norm="l2", eps=3)
    assert answer["perturbation"]["l2"] <= 3 + 1e-5
    assert answer["effective_reach"] == 3


def test_the_same_seed_gives_the_same_bytes(client: TestClient) -> None:
    """Many steps saturate every pixel, so that only few steps show the random start."""
    few: dict[str, Any] = {"steps": 2, "step_size": 0.01}
    first, second, other = (attack(client, seed=seed, **few) for seed in (1, 1, 2))
    assert without_timings(first) == without_timings(second)
    assert first["adversarial"]["image_png"] != other["adversarial"]["image_png"]


def test_no_budget_changes_nothing(client: TestClient) -> None:
    answer = attack(client, eps=0)
    assert answer["success"] is False
    assert answer["recovered"] is True
    assert answer["adversarial"] == answer["clean"]
    assert answer["perturbation"] == {"linf": 0, "l2": 0, "l0": 0}


def test_the_images_are_the_ones_that_were_judged(client: TestClient) -> None:
    answer = attack(client)
    clean, adversarial = (pixels_of(base64.b64decode(answer[name]["image_png"])) for name in ("clean", "adversarial"))
    assert np.array_equal(clean, image_of("mnist", 3))
    assert np.abs(adversarial.astype(int) - clean).max() == round(0.15 * 255)


def test_the_adversarial_image_alone_can_be_classified(client: TestClient) -> None:
    alone = client.post("/attack?sample=3&eps=0.15", headers={"accept": "image/png"})
    assert alone.headers["content-type"] == "image/png"
    assert alone.content == base64.b64decode(attack(client)["adversarial"]["image_png"])
    judged = client.post("/classify", content=alone.content, headers=PNG).json()
    assert judged["undefended"]["label"] == int(alone.headers["x-adversarial-label"]) != 3
    assert judged["label"] == int(alone.headers["x-purified-label"]) == int(alone.headers["x-label"]) == 3
    assert alone.headers["x-success"] == alone.headers["x-recovered"] == "true"


def test_an_empty_form_type_is_no_body(client: TestClient) -> None:
    """What `curl -d ''` sends."""
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert client.post("/attack?sample=3&steps=2", headers=headers).status_code == 200


@pytest.mark.parametrize("dataset", ["mnist", "fashion-mnist"])
def test_each_data_set_has_its_samples_and_classes(client: TestClient, dataset: str) -> None:
    answer = attack(client, dataset=dataset, sample=17, steps=3)
    assert answer["true_label"] == answer["clean"]["label"] == 7
    assert answer["clean"]["class_name"] == f"{dataset} 7"


@pytest.mark.parametrize("target", ["classifier", "pipeline"])
@pytest.mark.parametrize("dataset", DATASETS)
def test_every_method_can_be_called_as_it_is_listed(client: TestClient, dataset: str, target: str) -> None:
    """With each default spelt out, so that what the list says is what the endpoint takes."""
    methods = client.get("/attacks").json()["methods"]
    assert [method["method"] for method in methods] == list(ATTACKS)
    quick = {"max_queries": 200, "generations": 2, "search_steps": 2}
    for method in methods:
        for norm in method["norms"]:
            defaults = {one["name"]: one["default"] for one in method["parameters"][norm] if one["default"] is not None}
            settings = {**defaults, **{name: value for name, value in quick.items() if name in defaults}}
            answer = attack(client, method=method["method"], norm=norm, dataset=dataset, target=target, **settings)
            assert answer["parameters"].items() >= {"method": method["method"], "norm": norm, **settings}.items()
            assert answer["knowledge"] == method["knowledge"][target]
            assert (answer["knowledge"] == "oblivious") == (target == "classifier")


def test_the_listed_limits_hold(client: TestClient) -> None:
    for method in client.get("/attacks").json()["methods"]:
        for norm, parameters in method["parameters"].items():
            for one in parameters:
                assert one["description"]
                if one["type"] == "boolean":
                    continue
                for value in (one["maximum"] + 1, one["minimum"] if one["above_minimum"] else one["minimum"] - 1):
                    query = {"sample": 3, "method": method["method"], "norm": norm, one["name"]: value}
                    assert_problem(client.post("/attack", params=query), 422, f"{one['name']} is", "allowed:")


def test_eot_judges_on_fresh_draws(client: TestClient) -> None:
    answer = attack(client, target="pipeline", eot=3, steps=5, eps=0.4)
    assert answer["success_rate"] > 0.9
    assert attack(client, target="pipeline", steps=5)["success_rate"] is None
