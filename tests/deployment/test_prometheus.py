"""Prometheus with docker/prometheus.yml scrapes a running service."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from service import keys
from tests.deployment.running import DOCKER, free_port, program, rewritten, running
from tests.service.test_main import serving, wait_for

Query = Callable[[str], list[dict[str, str]]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where Prometheus finds its rules, and the key that compose gives it while the service wants none."""
    for name in ("alerts.yml", "no.key"):
        (tmp_path / name).write_text(rewritten(name))
    return tmp_path


def configured(folder: Path, service: str, key: Path) -> Path:
    file = folder / "prometheus.yml"
    addresses = (("purifier:8000", service), ("/run/secrets/metrics_key", str(key)))
    file.write_text(rewritten("prometheus.yml", *addresses, ("15s", "1s"), ("10s", "1s")))
    return file


@contextmanager
def scraping(folder: Path, url: str, key: Path, data: Path) -> Iterator[Query]:
    """Prometheus, once it has scraped the service; a function that asks it for the labels of what a query finds."""
    prometheus, port = program("prometheus"), free_port()
    command = [
        prometheus,
        f"--config.file={configured(folder, urlsplit(url).netloc, key)}",
        f"--storage.tsdb.path={data}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]

    def found(query: str) -> list[dict[str, str]]:
        address = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                result = json.load(answer)["data"]["result"]
        except OSError:
            return []
        return [item["metric"] for item in result]

    with running(command, lambda: found('up{job="purifier"}') != [], folder / "log"):
        yield found


def test_promtool_finds_nothing_wrong(folder: Path) -> None:
    checked = subprocess.run(
        [program("promtool"), "check", "config", str(configured(folder, "purifier:8000", folder / "no.key"))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_a_scrape_brings_readiness_and_models(models_dir: Path, folder: Path) -> None:
    with serving(models_dir) as (_, url):
        wait_for(f"{url}/readyz", 200)
        with scraping(folder, url, folder / "no.key", folder / "data") as found:
            assert found("purifier_ready == 1") != []
            models = {metric["model"] for metric in found("purifier_model_info")}
            assert {"mnist-classifier", "fashion-mnist-classifier"} <= models
            assert found("purifier_residual_l2_count") == []


def test_where_the_service_wants_keys_one_of_an_administrator_scrapes(
    models_dir: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = folder / "api-keys.txt"
    for group in ("admin", "infer"):
        assert keys.main([group, "--groups", group]) == 0
        printed = capsys.readouterr()
        with lines.open("a") as file:
            file.write(printed.out)
        (folder / f"{group}.key").write_text(printed.err.split()[-1] + "\n")
    with serving(models_dir, PURIFIER_API_KEYS_FILE=str(lines)) as (_, url):
        wait_for(f"{url}/readyz", 200)
        for group, up in (("admin", 1), ("infer", 0)):
            with scraping(folder, url, folder / f"{group}.key", folder / group) as found:
                assert found(f'up{{job="purifier"}} == {up}') != [], group


@pytest.mark.parametrize("name", ["prometheus.yml", "alerts.yml"])
def test_the_files_are_mounted_where_they_look_for_each_other(name: str) -> None:
    assert f"./docker/{name}:/etc/prometheus/{name}:ro" in (DOCKER.parent / "docker-compose.yml").read_text()
