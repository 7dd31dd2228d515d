"""KServe is not here: what its manifests say is compared with the image, the service's settings and its routes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient

from service.access import Key, KeyRing
from service.app import create_app
from service.settings import ENV_PREFIX, Settings
from tests.service.conftest import wait_until_ready

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "docker" / "kubernetes").glob("kserve*.yml"))
OURS: dict[str, Any] = yaml.safe_load((ROOT / "docker" / "kubernetes" / "kserve.yml").read_text())
TRITON: dict[str, Any] = yaml.safe_load((ROOT / "docker" / "kubernetes" / "kserve-triton.yml").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "docker" / "service.Dockerfile").read_text()
POD: dict[str, Any] = OURS["spec"]["predictor"]
(CONTAINER,) = POD["containers"]
ENVIRONMENT = {entry["name"]: entry["value"] for entry in CONTAINER["env"]}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_manifest_is_one_inference_service_with_bounded_resources(file: Path) -> None:
    manifest = yaml.safe_load(file.read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    predictor = manifest["spec"]["predictor"]
    (runs,) = predictor["containers"] if "containers" in predictor else [predictor["model"]]
    assert runs["resources"]["limits"].keys() == runs["resources"]["requests"].keys() == {"cpu", "memory"}
    assert {"readinessProbe", "livenessProbe"} <= runs.keys()


def test_ours_is_the_image_that_compose_builds_with_its_port_and_user() -> None:
    assert CONTAINER["name"] == "kserve-container"  # how KServe finds the one that answers
    assert CONTAINER["image"] == COMPOSE["services"]["purifier"]["image"]
    (port,) = CONTAINER["ports"]
    assert f"EXPOSE {port['containerPort']}\n" in DOCKERFILE
    user = POD["securityContext"]
    assert f"USER {user['runAsUser']}:{user['runAsGroup']}\n" in DOCKERFILE
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"] is True
    assert CONTAINER["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert f"{POD['terminationGracePeriodSeconds']}s" == COMPOSE["services"]["purifier"]["stop_grace_period"]


def test_probes_ask_what_the_service_answers_without_a_key(settings: Settings) -> None:
    probes = {name: CONTAINER[f"{name}Probe"]["httpGet"] for name in ("readiness", "liveness")}
    assert {probe["port"] for probe in probes.values()} == {CONTAINER["ports"][0]["containerPort"]}
    key = Key("alice", frozenset({"infer"}), "0" * 64).line()
    with TestClient(create_app(settings.model_copy(update={"api_keys": (key,)}))) as client:
        wait_until_ready(client)
        assert client.get("/v2/models/mnist-autoencoder_pipeline").status_code == 401
        assert {name: client.get(probe["path"]).status_code for name, probe in probes.items()} == {
            "readiness": 200,
            "liveness": 200,
        }
    # Two probes fail before a draining service leaves.
    drain_s = int(re.findall(r"PURIFIER_DRAIN_S=(\d+)", DOCKERFILE)[0])
    assert CONTAINER["readinessProbe"]["periodSeconds"] * CONTAINER["readinessProbe"]["failureThreshold"] <= drain_s


def test_keys_come_from_the_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {name.removeprefix(ENV_PREFIX).lower() for name in ENVIRONMENT} <= set(Settings.model_fields)
    place = Path(ENVIRONMENT["PURIFIER_API_KEYS_FILE"])
    (mount,) = [mount for mount in CONTAINER["volumeMounts"] if mount["mountPath"] == str(place.parent)]
    (volume,) = [volume for volume in POD["volumes"] if volume["name"] == mount["name"]]
    text = (ROOT / "docker" / "kubernetes" / "kserve.yml").read_text()
    assert f"create secret generic {volume['secret']['secretName']} --from-file={place.name}=" in text
    file = tmp_path / place.name
    file.write_text(Key("alice", frozenset({"infer"}), "0" * 64).line())
    monkeypatch.setenv("PURIFIER_API_KEYS_FILE", str(file))
    assert KeyRing.of(Settings(host="0.0.0.0"))


def test_triton_is_kserves_own_over_the_exported_repository() -> None:
    model = TRITON["spec"]["predictor"]["model"]
    assert (model["modelFormat"]["name"], model["runtime"]) == ("triton", "kserve-tritonserver")
    assert model["protocolVersion"] == "v2"
    assert re.fullmatch(r"pvc://[a-z-]+/triton", model["storageUri"])
    # Where KServe's runtime has Triton listen, and the protocol's own paths.
    asked = {name: model[f"{name}Probe"]["httpGet"] for name in ("readiness", "liveness")}
    assert asked == {
        "readiness": {"path": "/v2/health/ready", "port": 8080},
        "liveness": {"path": "/v2/health/live", "port": 8080},
    }
