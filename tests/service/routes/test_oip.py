"""The Open Inference Protocol over HTTP: what is answered, and what is refused."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.service.asking import assert_problem, digit
from tests.service.conftest import wait_until_ready
from tests.service.oip.wire import HEADER, as_binary, as_json, digits, entry

CLASSIFIER = "/v2/models/mnist-classifier"
PURIFIER = "/v2/models/mnist-purifier-autoencoder"
PIPELINE = "/v2/models/mnist-pipeline-autoencoder"
IMAGES = digits(3, 5)


@pytest.fixture(scope="module")
def client(models_dir: Any) -> Iterator[TestClient]:
    """Without the small limit on bodies that the other tests have."""
    settings = Settings(models_dir=models_dir, device="cpu", threads=1)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        wait_until_ready(client)
        yield client


def only_output(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    (output,) = answer.json()["outputs"]
    return dict(output)


def test_json_is_answered_in_json_and_the_id_comes_back(client: TestClient) -> None:
    answer = client.post(f"{CLASSIFIER}/infer", content=as_json(IMAGES, id="\u00e9 7"))
    assert only_output(answer)["shape"] == [2, 10]
    assert np.reshape(only_output(answer)["data"], (2, 10)).argmax(axis=1).tolist() == [3, 5]
    assert (answer.json()["id"], answer.json()["model_version"]) == ("\u00e9 7", "1")


def test_binary_tensors_give_the_bits_that_json_gives(client: TestClient) -> None:
    body, headers = as_binary(IMAGES, parameters={"binary_data_output": True})
    answer = client.post(f"{PIPELINE}/versions/1/infer", content=body, headers=headers)
    length = int(answer.headers[HEADER])
    assert answer.headers["content-type"] == "application/octet-stream"
    (output,) = json.loads(answer.content[:length])["outputs"]
    assert output["parameters"] == {"binary_data_size": 80}
    in_json = only_output(client.post(f"{PIPELINE}/infer", content=as_json(IMAGES)))["data"]
    assert np.frombuffer(answer.content[length:], "<f4").tolist() == in_json


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_packed_body_is_answered_as_the_plain_one(client: TestClient, encoding: str, pack: Any) -> None:
    body, headers = as_binary(IMAGES)
    plain = client.post(f"{PURIFIER}/infer", content=body, headers=headers)
    packed = client.post(f"{PURIFIER}/infer", content=pack(body), headers={**headers, "Content-Encoding": encoding})
    assert only_output(packed) == only_output(plain)


def test_nested_data_are_the_flat_ones(client: TestClient) -> None:
    nested = json.dumps({"inputs": [entry(IMAGES, data=IMAGES.tolist())]}).encode()
    flat = client.post(f"{CLASSIFIER}/infer", content=as_json(IMAGES))
    assert client.post(f"{CLASSIFIER}/infer", content=nested).content == flat.content


def test_the_classes_come_as_value_index_label(client: TestClient) -> None:
    outputs = [{"name": "logits", "parameters": {"classification": 2}}]
    output = only_output(client.post(f"{CLASSIFIER}/infer", content=as_json(IMAGES, outputs=outputs)))
    assert (output["datatype"], output["shape"]) == ("BYTES", [2, 2])
    value, index, label = output["data"][2].split(":")
    assert float(value) == pytest.approx(20 * 140 / 255, rel=1e-5)
    assert (index, label) == ("5", "mnist 5")
    assert output["data"][0].endswith(":3:mnist 3")


def test_a_seed_replays_the_noise_and_none_is_zero_noise(client: TestClient) -> None:
    def logits(**more: Any) -> Any:
        return only_output(client.post(f"{PIPELINE}/infer", content=as_json(IMAGES, **more)))["data"]

    assert logits(parameters={"seed": 7}) == logits(parameters={"seed": 7})
    assert logits(parameters={"seed": 7}) != logits(parameters={"seed": 8})
    zeros = {"name": "noise", "shape": [2, 4], "datatype": "FP32", "data": [0] * 8}
    assert logits() == logits(inputs=[entry(IMAGES), zeros]) != logits(parameters={"seed": 7})


@pytest.mark.parametrize("seed", [None, 11])
def test_the_pipeline_agrees_with_classify(client: TestClient, seed: int | None) -> None:
    query = {} if seed is None else {"seed": seed}
    expected = client.post("/classify", content=digit(3), params=query).json()["probabilities"]
    parameters = {"parameters": {"seed": seed}} if seed is not None else {}
    logits = np.array(only_output(client.post(f"{PIPELINE}/infer", content=as_json(digits(3), **parameters)))["data"])
    unscaled = np.exp(logits - logits.max())
    np.testing.assert_allclose(unscaled / unscaled.sum(), expected, rtol=1e-5)


def test_every_defense_of_both_data_sets_is_offered(client: TestClient) -> None:
    names = {
        "mnist-classifier",
        "mnist-classifier-distillation",
        "mnist-purifier-autoencoder",
        "mnist-pipeline-autoencoder",
        "mnist-purifier-puvae",
        "mnist-pipeline-puvae",
        "fashion-mnist-classifier",
        "fashion-mnist-purifier-autoencoder",
        "fashion-mnist-pipeline-autoencoder",
    }
    assert set(client.get("/v2").json()["models"]) == names
    index = client.post("/v2/repository/index", content=b'{"ready": true}').json()
    assert {model["name"] for model in index} == names
    for name in names:
        assert client.post(f"/v2/models/{name}/infer", content=as_json(IMAGES)).status_code == 200


def test_a_model_is_described_as_clients_want_it(client: TestClient) -> None:
    assert client.get(PIPELINE).json() == client.get(f"{PIPELINE}/versions/1").json()
    assert client.get(PIPELINE).json()["inputs"] == [
        {"name": "images", "datatype": "FP32", "shape": [-1, 1, 28, 28]},
        {"name": "noise", "datatype": "FP32", "shape": [-1, 4]},
    ]
    config = client.get(f"{PIPELINE}/config").json()
    assert config["max_batch_size"] == 32
    assert config["input"][1] == {"name": "noise", "data_type": "TYPE_FP32", "dims": [4], "optional": True}


def test_what_was_asked_is_counted(models_dir: Any) -> None:
    with TestClient(create_app(Settings(models_dir=models_dir, device="cpu", threads=1))) as client:
        wait_until_ready(client)
        client.post(f"{CLASSIFIER}/infer", content=as_json(IMAGES))
        client.post(f"{CLASSIFIER}/infer", content=as_json(digits(1, 2, 3)))
        client.post(f"{CLASSIFIER}/infer", content=b"{}")
        (counted,) = client.get(f"{CLASSIFIER}/stats").json()["model_stats"]
        assert (counted["inference_count"], counted["execution_count"]) == (5, 2)
        assert counted["inference_stats"]["success"]["count"] == 2
        assert counted["inference_stats"]["fail"]["count"] == 1
        assert [batch["batch_size"] for batch in counted["batch_stats"]] == [2, 3]
        assert counted["inference_stats"]["compute_infer"]["ns"] > 0
        everything = client.get("/v2/models/stats").json()["model_stats"]
        assert sum(model["inference_count"] for model in everything) == 5


def test_health_follows_the_server(client: TestClient, settings: Settings) -> None:
    for path in ("/v2/health/live", "/v2/health/ready", f"{PIPELINE}/ready", f"{PIPELINE}/versions/1/ready"):
        assert client.get(path).status_code == 200
    # Without its lifespan the application loads no models.
    unready = TestClient(create_app(settings))
    assert unready.get("/v2/health/live").status_code == 200
    assert_problem(unready.get("/v2/health/ready"), 503, "being loaded")
    assert_problem(unready.get(f"{PIPELINE}/ready"), 503, "being loaded")


@dataclass(frozen=True)
class Hostile:
    """A request, the status that it must get, and what the detail must hold."""

    status: int
    fragment: str
    body: bytes = b""
    path: str = f"{PIPELINE}/infer"
    headers: dict[str, str] = field(default_factory=dict)


def changed(**changes: Any) -> bytes:
    return json.dumps({"inputs": [entry(IMAGES, **changes)]}).encode()


def asking(**more: Any) -> bytes:
    return as_json(digits(3), **more)


def pixel(value: float) -> bytes:
    images = digits(3)
    images[0, 0, 2, 1] = value
    return as_json(images)


BINARY, LENGTH = as_binary(IMAGES)
GZIP = {"Content-Encoding": "gzip"}
HOSTILE: dict[str, Hostile] = {
    "nothing": Hostile(400, "the first 0 bytes of the body are not JSON"),
    "not UTF-8": Hostile(400, "not JSON in UTF-8", b'{"id": "\xff\xfe"}'),
    "a list": Hostile(400, "the JSON is [1]; allowed: an object", b"[1]"),
    "null": Hostile(400, "the JSON is null; allowed: an object", b"null"),
    "no object of an input": Hostile(400, "inputs.0 is true; allowed: an object", b'{"inputs": [true]}'),
    "a list of parameters": Hostile(400, "parameters is []; allowed: an object", asking(parameters=[])),
    "nothing asked": Hostile(400, "inputs is missing", b'{"id": "7"}'),
    "deep": Hostile(400, "nested too deeply", b"[" * 1_000_000),
    "deep data": Hostile(400, "a list of 1; allowed: lists nested as", changed(data=json.loads("[" * 500 + "]" * 500))),
    "a number of 9,999 digits": Hostile(
        400, "a whole number of more than 4300 digits", b'{"id": ' + b"9" * 9999 + b"}"
    ),
    "no inputs": Hostile(400, "inputs is []", b'{"inputs": []}'),
    "9 inputs": Hostile(400, "at most 8", json.dumps({"inputs": [entry(digits(3))] * 9}).encode()),
    "a million outputs": Hostile(400, "at most 8", asking(outputs=[{}] * 1_000_000)),
    "the same input twice": Hostile(
        400, "'images' is given 2 times", json.dumps({"inputs": [entry(IMAGES)] * 2}).encode()
    ),
    "the same output twice": Hostile(400, "'logits' is given 2 times", asking(outputs=[{"name": "logits"}] * 2)),
    "another input": Hostile(400, "unknown input 'x'; allowed: images, noise", changed(name="x")),
    "a name that is a path": Hostile(400, "unknown input '../../etc/passwd'", changed(name="../../etc/passwd")),
    "another output": Hostile(400, "unknown output 'x'; allowed: logits", asking(outputs=[{"name": "x"}])),
    "noise alone": Hostile(400, "'images' is missing", changed(name="noise", shape=[1, 4], data=[0] * 4)),
    "noise for another batch": Hostile(
        400,
        "'noise' has a batch of 1, and 'images' one of 2",
        asking(inputs=[entry(IMAGES), {"name": "noise", "shape": [1, 4], "datatype": "FP32", "data": [0] * 4}]),
    ),
    "huge noise": Hostile(
        400,
        "from -100 to 100",
        asking(inputs=[entry(digits(3)), {"name": "noise", "shape": [1, 4], "datatype": "FP32", "data": [1e30] * 4}]),
    ),
    "FP64": Hostile(400, "datatype 'FP64'; allowed: FP32", changed(datatype="FP64")),
    "a negative shape": Hostile(400, "shape [-1, 1, 28, 28]", changed(shape=[-1, 1, 28, 28])),
    "an empty batch": Hostile(400, "shape [0, 1, 28, 28]", changed(shape=[0, 1, 28, 28], data=[])),
    "a batch of 33": Hostile(400, "N from 1 to 32", changed(shape=[33, 1, 28, 28])),
    "a huge shape": Hostile(400, "allowed: [N, 1, 28, 28]", changed(shape=[10**4000, 1, 28, 28])),
    "a shape that overflows": Hostile(400, "allowed: [N, 1, 28, 28]", changed(shape=[2**32, 2**32, 28, 28])),
    "a flat shape": Hostile(400, "shape [1568]", changed(shape=[1568])),
    "a long shape": Hostile(400, "at most 8", changed(shape=[1] * 100_000)),
    "a shape of truths": Hostile(400, "inputs.0.shape.0 is true", changed(shape=[True, 1, 28, 28])),
    "too few values": Hostile(400, "has 3 values; allowed: 1568", changed(data=[0, 0, 0])),
    "ragged": Hostile(400, "a list of 3; allowed: lists nested as", changed(data=[[1, 2, 3], [1]])),
    "texts": Hostile(400, 'holds "0"; allowed: numbers', changed(data=["0"] * 1568)),
    "truths": Hostile(400, "holds true; allowed: numbers", changed(data=[True] * 1568)),
    "a number beyond float64": Hostile(400, "too large for FP32", changed(data=[10**400] * 1568)),
    "a number beyond float32": Hostile(400, "holds inf at [0, 0, 0, 0]", changed(data=[1e300] * 1568)),
    "NaN": Hostile(400, "holds nan at [0, 0, 2, 1]; allowed: finite, from 0 to 1", pixel(float("nan"))),
    "infinite": Hostile(400, "holds -inf at [0, 0, 2, 1]", pixel(float("-inf"))),
    "pixels up to 255": Hostile(400, "holds 255 at [0, 0, 2, 1]; allowed: finite, from 0 to 1", pixel(255)),
    "below black": Hostile(400, "holds -0.00100000005 at", pixel(-0.001)),
    "neither data nor bytes": Hostile(400, "neither of data", changed(data=None)),
    "data and bytes": Hostile(400, "both of data", changed(parameters={"binary_data_size": 4})),
    "more bytes than there are": Hostile(400, "left of the body", BINARY[:-4], headers=LENGTH),
    "bytes left over": Hostile(400, "4 bytes follow", BINARY + bytes(4), headers=LENGTH),
    "a negative size": Hostile(400, "-1; allowed", changed(data=None, parameters={"binary_data_size": -1})),
    "a wrong size": Hostile(
        400,
        "has 0 bytes; allowed: 6272, for FP32",
        changed(data=None, parameters={"binary_data_size": 0}),
    ),
    "shared memory": Hostile(
        400, "'shared_memory_region'; allowed: binary_data_size", changed(parameters={"shared_memory_region": "a"})
    ),
    "a header length beyond the body": Hostile(400, f"'{10**6}'", BINARY, headers={HEADER: str(10**6)}),
    "a negative header length": Hostile(400, "'-1'", BINARY, headers={HEADER: "-1"}),
    "a header length that is no number": Hostile(400, "'1e3'", BINARY, headers={HEADER: "1e3"}),
    "a header length of a thousand digits": Hostile(400, "a whole number", BINARY, headers={HEADER: "1" * 1000}),
    "a header length one short": Hostile(400, "not JSON", BINARY, headers={HEADER: str(int(LENGTH[HEADER]) - 1)}),
    "no header length": Hostile(400, "not JSON", BINARY),
    "a seed beyond": Hostile(400, "from 0 to 4294967295", asking(parameters={"seed": 2**32})),
    "a seed of text": Hostile(400, 'seed "7"', asking(parameters={"seed": "7"})),
    "a seed of nothing": Hostile(400, "seed null", asking(parameters={"seed": None})),
    "a seed without noise": Hostile(
        400, "mnist-classifier has no noise", asking(parameters={"seed": 7}), f"{CLASSIFIER}/infer"
    ),
    "a seed and noise": Hostile(
        400,
        "'noise' is given too",
        asking(
            inputs=[entry(digits(3)), {"name": "noise", "shape": [1, 4], "datatype": "FP32", "data": [0] * 4}],
            parameters={"seed": 7},
        ),
    ),
    "another parameter": Hostile(400, "'sed'; allowed: seed, binary_data_output", asking(parameters={"sed": 7})),
    "11 classes": Hostile(
        400, "from 1 to 10", asking(outputs=[{"name": "logits", "parameters": {"classification": 11}}])
    ),
    "classes of an image": Hostile(
        400,
        "'classification'; allowed: binary_data",
        asking(outputs=[{"name": "purified_images", "parameters": {"classification": 1}}]),
        f"{PURIFIER}/infer",
    ),
    "binary_data of text": Hostile(
        400, "true or false", asking(outputs=[{"name": "logits", "parameters": {"binary_data": "yes"}}])
    ),
    "half a character": Hostile(400, 'id is "\\ud800"', asking(id="\ud800")),
    "a long id": Hostile(400, "256", asking(id="a" * 257)),
    "5 MB": Hostile(413, "allowed: at most 4194304 bytes", bytes(5_000_000)),
    "a bomb": Hostile(413, "more than 4194304 bytes unpacked", gzip.compress(bytes(50_000_000)), headers=GZIP),
    "not gzip": Hostile(400, "cannot be read as such", asking(), headers=GZIP),
    "half a gzip": Hostile(400, "is cut off", gzip.compress(asking())[:-9], headers=GZIP),
    "two gzips": Hostile(400, "is followed by", gzip.compress(asking()) * 2, headers=GZIP),
    "brotli": Hostile(415, "'br'; allowed: gzip, deflate", asking(), headers={"Content-Encoding": "br"}),
    "another model": Hostile(404, "unknown model 'x'; allowed: mnist-classifier", asking(), "/v2/models/x/infer"),
    "a gradient": Hostile(404, "unknown model", asking(), "/v2/models/mnist-classifier_gradient/infer"),
    "a model outside": Hostile(404, "", asking(), "/v2/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd/infer"),
    "a model of bytes": Hostile(404, "unknown model", asking(), "/v2/models/%ff%00/infer"),
    "another version": Hostile(404, "unknown version '2'; allowed: 1", asking(), f"{PIPELINE}/versions/2/infer"),
    "a query": Hostile(422, "unknown query parameter 'seed'", asking(), f"{PIPELINE}/infer?seed=7"),
    "an index of half the models": Hostile(400, 'ready is "half"', b'{"ready": "half"}', "/v2/repository/index"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_request_is_refused_and_said_why(client: TestClient, name: str) -> None:
    hostile = HOSTILE[name]
    answer = client.post(hostile.path, content=hostile.body, headers=hostile.headers)
    assert_problem(answer, hostile.status, hostile.fragment)
    assert client.post(f"{CLASSIFIER}/infer", content=as_json(IMAGES)).status_code == 200
