"""What every way of serving must answer, asked over HTTP: the same checks for one process and for many.

The server must have the keys of `ENVIRONMENT`, whose holder may do everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import tritonclient.http as triton

from service.access import Key, digest_of
from service.routes.page import POLICY
from tests.service.asking import assert_problem, digit, pixels_of
from tests.service.oip.wire import as_json, digits

_EVERYTHING, _INFER = "contract-everything", "contract-infer"
_LINES = (
    Key("everything", frozenset(("infer", "attack", "admin")), digest_of(_EVERYTHING)).line(),
    Key("infer", frozenset(("infer",)), digest_of(_INFER)).line(),
)
ENVIRONMENT = {
    "PURIFIER_API_KEYS": " ".join(_LINES),
    "PURIFIER_RATE_LIMIT": "900000",
    "PURIFIER_MAX_BODY_BYTES": "100000",
}
KEY = {"Authorization": f"Bearer {_EVERYTHING}"}
PNG = {"Content-Type": "image/png"}
PIPELINE = "mnist-pipeline-autoencoder"
Check = Callable[[httpx.Client], None]


def asker(url: str) -> httpx.Client:
    """A client of that server, with the key that opens everything."""
    return httpx.Client(base_url=url, headers=KEY, timeout=60, trust_env=False)


def _is_up(client: httpx.Client) -> None:
    for path in ("/healthz", "/readyz", "/v2/health/ready"):
        assert client.get(path, headers={"Authorization": ""}).status_code == 200
    assert set(client.get("/models").json()["datasets"]) == {"mnist", "fashion-mnist"}


def _keys_open_their_groups(client: httpx.Client) -> None:
    nobody = client.post("/classify", content=digit(), headers={**PNG, "Authorization": ""})
    assert_problem(nobody, 401, "there is no API key that is known here")
    assert nobody.headers["www-authenticate"].startswith("Bearer")
    infer = {"Authorization": f"Bearer {_INFER}"}
    assert client.post("/classify", content=digit(), headers={**PNG, **infer}).status_code == 200
    assert_problem(client.get("/metrics", headers=infer), 403, "of the group 'admin'")
    assert_problem(client.post("/attack?sample=3", headers=infer), 403, "of the group 'attack'")


def _rates_are_counted(client: httpx.Client) -> None:
    answer = client.get("/samples")
    assert re.fullmatch(r'"default";q=\d+;w=60', answer.headers["ratelimit-policy"])


def _pictures_are_named_and_purified(client: httpx.Client) -> None:
    for label in range(10):
        answer = client.post("/classify", content=digit(label), headers=PNG)
        assert answer.json()["undefended"]["label"] == label
    form = client.post("/classify", files={"file": ("three.png", digit(3), "image/png")})
    assert form.json()["label"] == 3
    purified = {client.post("/purify?seed=7", content=digit(), headers=PNG).content for _ in range(8)}
    assert len(purified) == 1
    assert pixels_of(purified.pop()).shape == (28, 28)


def _attacks_change_a_picture(client: httpx.Client) -> None:
    answer = client.post("/attack?sample=3&method=pgd&eps=0.1&seed=7", headers={"Accept": "image/png"})
    assert answer.status_code == 200
    assert not np.array_equal(pixels_of(answer.content), pixels_of(client.get("/samples/mnist/3").content))


def _the_page_comes_with_its_own_policy(client: httpx.Client) -> None:
    for path in ("/", "/docs", "/demo/app.js"):
        answer = client.get(path, headers={"Authorization": ""})
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"] == POLICY


def _refusals_are_problems(client: httpx.Client) -> None:
    assert_problem(client.get("/nothing"), 404, "there is nothing here")
    assert_problem(client.get("/-/nothing"), 404, "there is nothing here")
    assert_problem(client.get("/classify"), 405, "allowed here: POST")
    assert_problem(client.post("/classify?seed=x", content=digit(), headers=PNG), 422, "seed is 'x'")
    assert_problem(client.post("/classify?shade=1", content=digit(), headers=PNG), 422, "unknown query parameter")
    assert_problem(client.post("/classify", content=b"no picture", headers=PNG), 422)
    assert_problem(client.post("/classify", content=b"\xff\x00", headers={"Content-Type": "text/plain"}), 415)
    assert_problem(client.post("/classify", content=bytes(100_001), headers=PNG), 413, "100000")


def _requests_have_one_id(client: httpx.Client) -> None:
    assert client.get("/samples", headers={"X-Request-ID": "mine.7"}).headers.get_list("x-request-id") == ["mine.7"]
    insane = client.get("/nothing", headers={"X-Request-ID": "not sane;"})
    (given,) = insane.headers.get_list("x-request-id")
    assert given == insane.json()["request_id"] != "not sane;"


def _nobody_gives_orders_to_what_stands_before(client: httpx.Client) -> None:
    orders = {"X-Request-Timeout-Seconds": "0.000001", "X-Request-Disconnect-Disabled": "?1"}
    assert client.post("/classify", content=digit(), headers={**PNG, **orders}).status_code == 200


def _inference_clients_are_served(client: httpx.Client) -> None:
    images = digits(3, 5)
    tensor = triton.InferInput("images", list(images.shape), "FP32")
    tensor.set_data_from_numpy(images, binary_data=True)
    with triton.InferenceServerClient(client.base_url.netloc.decode()) as server:
        result = server.infer(PIPELINE, [tensor], request_id="7", headers=dict(KEY))
    assert result.get_response()["id"] == "7"
    plain: dict[str, Any] = client.post(f"/v2/models/{PIPELINE}/infer", content=as_json(images)).json()
    assert np.array_equal(result.as_numpy("logits").ravel(), np.float32(plain["outputs"][0]["data"]))


def _metrics_are_read(client: httpx.Client) -> None:
    text = client.get("/metrics").text
    assert "\npurifier_ready 1.0\n" in text
    assert "\npurifier_model_info{" in text


CONTRACT: tuple[Check, ...] = (
    _is_up,
    _keys_open_their_groups,
    _rates_are_counted,
    _pictures_are_named_and_purified,
    _attacks_change_a_picture,
    _the_page_comes_with_its_own_policy,
    _refusals_are_problems,
    _requests_have_one_id,
    _nobody_gives_orders_to_what_stands_before,
    _inference_clients_are_served,
    _metrics_are_read,
)
