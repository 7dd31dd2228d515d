"""NVIDIA's own client against a running server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.service.oip.wire import digits
from tests.service.test_main import serving, wait_for

PIPELINE = "mnist-pipeline-autoencoder"


@pytest.fixture(scope="module")
def client(models_dir: Path) -> Iterator[Any]:
    with serving(models_dir) as (_, url):
        wait_for(f"{url}/readyz", 200)
        with triton.InferenceServerClient(url.removeprefix("http://")) as client:
            yield client


def images(*labels: int, binary: bool = True) -> list[Any]:
    values = digits(*labels)
    tensor = triton.InferInput("images", list(values.shape), "FP32")
    tensor.set_data_from_numpy(values, binary_data=binary)
    return [tensor]


def test_server_and_models_are_ready(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(PIPELINE)
    assert client.is_model_ready(PIPELINE, "1")
    assert not client.is_model_ready("x")
    assert not client.is_model_ready(PIPELINE, "2")


def test_everything_is_described(client: Any) -> None:
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata(PIPELINE)["outputs"][0]["name"] == "logits"
    assert client.get_model_config(PIPELINE, "1")["max_batch_size"] == 32
    assert PIPELINE in {model["name"] for model in client.get_model_repository_index()}


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_every_way_of_sending_gives_the_same_bits(
    client: Any, binary_in: bool, binary_out: bool | None, compression: str | None
) -> None:
    expected = client.infer(PIPELINE, images(3, 5)).as_numpy("logits")
    result = client.infer(
        PIPELINE,
        images(3, 5, binary=binary_in),
        request_id="7",
        outputs=None if binary_out is None else [triton.InferRequestedOutput("logits", binary_data=binary_out)],
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
    )
    assert result.as_numpy("logits").tobytes() == expected.tobytes()
    assert result.get_response()["id"] == "7"
    assert expected.argmax(axis=1).tolist() == [3, 5]


@pytest.mark.parametrize("binary", [True, False])
def test_classes_come_with_their_names(client: Any, binary: bool) -> None:
    asked = [triton.InferRequestedOutput("logits", binary_data=binary, class_count=3)]
    classes = client.infer("mnist-classifier", images(3, 5), outputs=asked).as_numpy("logits")
    assert classes.shape == (2, 3)
    texts = [text.decode() if isinstance(text, bytes) else text for text in classes[:, 0]]
    assert [text.split(":")[1:] for text in texts] == [["3", "mnist 3"], ["5", "mnist 5"]]


def test_a_seed_replays_an_answer(client: Any) -> None:
    first, again, other = (
        client.infer(PIPELINE, images(3), parameters={"seed": seed}).as_numpy("logits") for seed in (7, 7, 8)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_requests_are_counted(client: Any) -> None:
    def counted() -> dict[str, Any]:
        (model,) = client.get_inference_statistics("fashion-mnist-classifier")["model_stats"]
        return dict(model)

    before = counted()
    client.infer("fashion-mnist-classifier", images(1, 2, 3))
    assert counted()["inference_count"] - before["inference_count"] == 3
    assert counted()["inference_stats"]["success"]["count"] - before["inference_stats"]["success"]["count"] == 1


def test_a_refusal_reaches_the_client_in_words(client: Any) -> None:
    tensor = triton.InferInput("images", [1, 1, 28, 27], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 1, 28, 27), np.float32))
    with pytest.raises(InferenceServerException, match=r"has shape \[1, 1, 28, 27\]; allowed: \[N, 1, 28, 28\]"):
        client.infer(PIPELINE, [tensor])
