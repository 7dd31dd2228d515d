"""Prometheus with docker/prometheus.yml scrapes a running service."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.deployment.running import DOCKER, free_port, program, rewritten, running
from tests.service.test_main import serving, wait_for


def test_promtool_finds_nothing_wrong() -> None:
    checked = subprocess.run(
        [program("promtool"), "check", "config", str(DOCKER / "prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_a_scrape_brings_readiness_and_models(models_dir: Path, tmp_path: Path) -> None:
    prometheus, port = program("prometheus"), free_port()
    with serving(models_dir) as (_, url):
        wait_for(f"{url}/readyz", 200)
        (tmp_path / "alerts.yml").write_text(rewritten("alerts.yml"))
        file = tmp_path / "prometheus.yml"
        scrape = ("purifier:8000", urlsplit(url).netloc)
        file.write_text(rewritten("prometheus.yml", scrape, ("15s", "1s"), ("10s", "1s")))
        command = [
            prometheus,
            f"--config.file={file}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
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

        with running(command, lambda: found("purifier_ready == 1") != [], tmp_path / "log"):
            models = {metric["model"] for metric in found("purifier_model_info")}
            assert {"mnist-classifier", "fashion-mnist-classifier"} <= models
            assert found("purifier_residual_l2_count") == []


@pytest.mark.parametrize("name", ["prometheus.yml", "alerts.yml"])
def test_the_files_are_mounted_where_they_look_for_each_other(name: str) -> None:
    assert f"./docker/{name}:/etc/prometheus/{name}:ro" in (DOCKER.parent / "docker-compose.yml").read_text()
