"""GET /metrics counts what happened, under labels that no request can invent."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from service import __version__
from service.app import create_app
from service.catalog import Catalog
from service.errors import BusyError
from service.settings import Settings
from tests.service.asking import digit, png
from tests.service.conftest import wait_until_ready
from tests.service.tiny_models import image_of

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(client: TestClient) -> Samples:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, frozenset(labels.items())), 0.0)


def grown(client: TestClient, before: Samples, name: str, **labels: str) -> float:
    return value(scrape(client), name, **labels) - value(before, name, **labels)


def test_requests_are_counted_by_template_and_status(client: TestClient) -> None:
    before = scrape(client)
    client.get("/samples/mnist/3")
    client.get("/samples/mnist/4")
    client.get("/samples/mnist/99")
    template = {"method": "GET", "endpoint": "/samples/{dataset}/{n}"}
    assert grown(client, before, "purifier_requests_total", **template, status="200") == 2
    assert grown(client, before, "purifier_requests_total", **template, status="404") == 1


def test_no_request_can_invent_a_label(client: TestClient) -> None:
    client.get("/no-such-path-QZXJ")
    client.request("BREWQZXJ", "/classify")
    client.post("/classify?dataset=no-such-QZXJ&defense=no-such-QZXJ", content=digit())
    text = client.get("/metrics").text
    assert "QZXJ" not in text
    assert 'endpoint="(none)"' in text
    assert 'method="other"' in text


def test_stages_are_timed_where_they_happen(client: TestClient) -> None:
    before = scrape(client)
    client.post("/classify", content=digit(), headers={"content-type": "image/png"})
    client.post("/classify", content=b"no picture", headers={"content-type": "image/png"})
    for stage in ("receive", "decode", "queue", "purify", "classify", "total"):
        labels = {"endpoint": "POST /classify", "stage": stage}
        assert grown(client, before, "purifier_stage_duration_seconds_count", **labels) == 1, stage


def undefended(client: TestClient) -> Callable[[bytes], list[float]]:
    def probabilities(picture: bytes) -> list[float]:
        told: list[float] = client.post("/classify?defense=none", content=picture).json()["probabilities"]
        return told

    return probabilities


def test_what_purification_changes_is_watched(client: TestClient) -> None:
    labels = {"dataset": "mnist", "defense": "autoencoder"}
    before = scrape(client)
    # A faint five is one that the tiny purifier makes a three of.
    pictures = [digit(3), png(image_of("mnist", 5, band=110))]
    answers = [client.post(path, content=picture) for path in ("/classify", "/purify") for picture in pictures]
    assert {answer.status_code for answer in answers} == {200}
    assert grown(client, before, "purifier_residual_l2_count", **labels) == 4
    assert grown(client, before, "purifier_disagreements_total", **labels) == 2
    assert grown(client, before, "purifier_answer_shift_count", **labels) == 4
    shifts = [
        sum(abs(a - b) for a, b in zip(answer.json()["probabilities"], alone, strict=True)) / 2
        for answer, alone in zip(answers[:2], map(undefended(client), pictures), strict=True)
    ]
    assert grown(client, before, "purifier_answer_shift_sum", **labels) == pytest.approx(2 * sum(shifts))
    evidence = [answer.json()["evidence"] for answer in answers[:2]]
    total = 2 * sum(item["residual_l2"] for item in evidence)
    assert grown(client, before, "purifier_residual_l2_sum", **labels) == pytest.approx(total)


def test_without_a_defense_there_is_nothing_to_watch(client: TestClient) -> None:
    client.post("/classify?defense=none", content=digit())
    assert not [labels for _, labels in scrape(client) if ("defense", "none") in labels and len(labels) == 2]


def test_what_is_shed_is_counted(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise BusyError("full")

    before = scrape(client)
    monkeypatch.setattr("service.lanes.Lane.run", full)
    assert client.post("/latency/benchmark").status_code == 503
    assert grown(client, before, "purifier_shed_total", endpoint="/latency/benchmark", status="503") == 1


def test_models_and_engine_are_told(client: TestClient, catalog: Catalog) -> None:
    samples = scrape(client)
    told = {dict(labels)["model"]: dict(labels) for name, labels in samples if name == "purifier_model_info"}
    classifier = catalog.manifest.graph("mnist", "classifier")
    assert told[classifier.name]["sha256"] == classifier.sha256
    assert told[classifier.name]["provider"] == "CPUExecutionProvider"
    assert value(samples, "purifier_model_clean_accuracy", model=classifier.name) == 0.99
    version = catalog.runtime.version
    engine = {"asked": "cpu", "provider": "CPUExecutionProvider", "onnxruntime": version}
    assert value(samples, "purifier_provider_info", **engine) == 1
    (build,) = [dict(labels) for name, labels in samples if name == "purifier_build_info"]
    assert build["version"] == __version__


def test_lanes_and_readiness_are_those_of_this_moment(settings: Settings) -> None:
    app = create_app(settings)
    with TestClient(app) as client:
        wait_until_ready(client)
        assert value(scrape(client), "purifier_ready") == 1
        assert value(scrape(client), "purifier_requests_in_flight") == 1  # the scrape itself
        for lane in ("attack or benchmark",):
            assert value(scrape(client), "purifier_lane_running", lane=lane) == 0
            assert ("purifier_lane_waiting", frozenset({("lane", lane)})) in scrape(client)
        app.state.service.draining = True
        assert value(scrape(client), "purifier_ready") == 0


def test_two_applications_count_apart(settings: Settings, client: TestClient) -> None:
    with TestClient(create_app(settings)) as other:
        wait_until_ready(other)
        client.get("/attacks")
        assert value(scrape(other), "purifier_requests_total", method="GET", endpoint="/attacks", status="200") == 0


def test_openmetrics_is_answered_where_it_is_asked_for(client: TestClient) -> None:
    answer = client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


@pytest.mark.parametrize(
    "accepted",
    [
        "text/plain; version=1.0.0-rc1",
        "text/plain; version=abc",
        'application/openmetrics-text; version="1.0.0"',
        "application/openmetrics-text; version=0.1.x, text/plain; version=1.\u00b2",
    ],
)
def test_a_version_that_is_none_is_answered_as_text_all_the_same(client: TestClient, accepted: str) -> None:
    answer = client.get("/metrics", headers={b"accept": accepted.encode("latin-1")})
    assert answer.status_code == 200
    assert "purifier_requests_total" in answer.text


def test_batches_are_counted_by_size(client: TestClient) -> None:
    before = scrape(client)
    client.post("/classify", content=digit())
    assert grown(client, before, "purifier_batches_total", size="1") == 1
    assert value(scrape(client), "purifier_batcher_waiting") == 0
    assert ("purifier_batcher_given_up_total", frozenset({("reason", "expired")})) in before
