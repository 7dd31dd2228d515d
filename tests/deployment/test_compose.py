"""The files for Docker agree with each other and with the service; no engine is needed to see that."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from fastapi.testclient import TestClient
from prometheus_client import generate_latest

from service.access import Key, KeyRing
from service.app import create_app
from service.errors import StartupError
from service.settings import Settings
from tests.service.asking import digit
from tests.service.conftest import wait_until_ready

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
GPU: dict[str, Any] = yaml.safe_load((ROOT / "docker" / "gpu.yml").read_text())
DASHBOARD: dict[str, Any] = json.loads((ROOT / "docker" / "grafana" / "dashboards" / "purifier.json").read_text())
KEYS: dict[str, Any] = yaml.safe_load((ROOT / "docker" / "keys.yml").read_text())
OVERLAYS: tuple[list[str], ...] = ([], ["gpu.yml"], ["keys.yml"], ["gpu.yml", "keys.yml"])
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


@pytest.mark.parametrize("name", SERVICES)
def test_each_container_can_write_and_become_nothing(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    if "build" not in service:  # ours has its user in the Dockerfile
        assert not service["user"].startswith("0")
        assert service["healthcheck"]["test"]
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+(-alpine)?", service["image"])


def test_only_nginx_and_the_dashboard_are_reached_from_outside() -> None:
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"nginx", "grafana"}
    assert {name for name, service in SERVICES.items() if "outside" in service["networks"]} == {"nginx", "grafana"}
    assert all(port.startswith(("127.0.0.1:", "${PUBLISH:-127.0.0.1}:")) for n in SERVICES for port in _ports(n))


def _ports(name: str) -> list[str]:
    ports: list[str] = SERVICES[name].get("ports", [])
    return ports


def test_every_mounted_file_exists() -> None:
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", [])]
    files = [mount.split(":")[0] for mount in mounts if mount.startswith("./")]
    assert len(files) == 5
    assert all((ROOT / file).exists() for file in files)


def test_the_gpu_is_reserved_for_the_cuda_image() -> None:
    service = GPU["services"]["purifier"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    dockerfile = (ROOT / SERVICES["purifier"]["build"]["dockerfile"]).read_text()
    for build in (SERVICES["purifier"]["build"], service["build"]):
        assert f" AS {build['target']}\n" in dockerfile


@pytest.mark.parametrize("file", [ROOT / "docker-compose.yml", *(ROOT / "docker" / n for n in ("gpu.yml", "keys.yml"))])
def test_a_file_is_what_the_compose_specification_says(file: Path) -> None:
    specification = jsonschema.Draft7Validator(get_builtin_schema("vendor.compose-spec"))
    assert list(specification.iter_errors(yaml.safe_load(file.read_text()))) == []


@pytest.mark.parametrize("overlays", OVERLAYS, ids=lambda names: "+".join(["compose", *names]))
def test_compose_itself_can_put_the_files_together(overlays: list[str]) -> None:
    if shutil.which("docker") is None or docker_compose("version").returncode != 0:
        pytest.skip("docker compose is not installed")
    files = ["docker-compose.yml", *(f"docker/{name}" for name in overlays)]
    told = docker_compose(*(argument for file in files for argument in ("-f", file)), "config", "--quiet")
    assert told.returncode == 0, told.stderr


def docker_compose(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", "compose", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def keys_of(monkeypatch: pytest.MonkeyPatch, *files: dict[str, Any], **environment: str) -> KeyRing:
    """The keys of the service with the environment that compose gives it."""
    for file in files:
        for name, value in file["services"]["purifier"].get("environment", {}).items():
            variable = re.fullmatch(r"\$\{(\w+):-(.*)\}", value)
            monkeypatch.setenv(name, environment.get(variable[1], variable[2]) if variable else value)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return KeyRing.of(Settings(host="0.0.0.0"))


def test_without_keys_it_is_open_and_with_them_it_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not keys_of(monkeypatch, COMPOSE)
    line = Key("alice", frozenset({"infer"}), "0" * 64).line()
    file = tmp_path / "api-keys.txt"
    file.write_text(line)
    assert KEYS["services"]["purifier"]["environment"]["PURIFIER_API_KEYS_FILE"] == "/run/secrets/api_keys"
    assert keys_of(monkeypatch, COMPOSE, KEYS, PURIFIER_API_KEYS_FILE=str(file))
    with pytest.raises(StartupError, match="allow_anonymous is set, and there are API keys"):
        keys_of(monkeypatch, COMPOSE, PURIFIER_API_KEYS=line)


def test_prometheus_has_a_key_and_no_key_can_be_committed_by_mistake() -> None:
    prometheus = yaml.safe_load((ROOT / "docker" / "prometheus.yml").read_text())
    (job,) = prometheus["scrape_configs"]
    assert job["authorization"]["credentials_file"] == "/run/secrets/metrics_key"
    assert SERVICES["prometheus"]["secrets"] == ["metrics_key"]
    assert (ROOT / COMPOSE["secrets"]["metrics_key"]["file"]).exists()
    files = {secret["file"] for secret in KEYS["secrets"].values()}
    assert KEYS["secrets"].keys() == {"api_keys", "metrics_key"}
    assert all(file.startswith("./keys/") for file in files)
    assert "/keys/" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_is_pinned_not_root_and_made_of_what_the_context_holds(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    assert re.search(r"^ARG PYTHON=\d+\.\d+\.\d+-slim-\w+$", text, re.MULTILINE)
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["10001:10001"]
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source.rstrip("/")
        for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert copied <= allowed
    assert all((ROOT / source).exists() for source in copied)


def test_the_dashboard_and_the_alerts_ask_only_for_what_is_there(settings: Settings) -> None:
    app = create_app(settings)
    with TestClient(app) as client:
        wait_until_ready(client)
        client.post("/classify", content=digit())
        text = generate_latest(app.state.service.metrics.registry).decode()
    there = set(re.findall(r"^([a-z_0-9]+)", text, re.MULTILINE))
    there |= set(re.findall(r"^# TYPE ([a-z_0-9]+) counter", text, re.MULTILINE))
    asked = " ".join(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])
    rules = yaml.safe_load((ROOT / "docker" / "alerts.yml").read_text())
    asked += " " + " ".join(rule["expr"] for group in rules["groups"] for rule in group["rules"])
    names = set(re.findall(r"\b((?:purifier|process)_[a-z_0-9]+)", asked))
    assert len(names) > 10
    assert names <= there
