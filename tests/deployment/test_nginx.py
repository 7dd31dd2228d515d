"""nginx with docker/nginx.conf in front of a running service."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.deployment.running import free_port, listens, program, rewritten, running
from tests.service.asking import digit
from tests.service.gates import until
from tests.service.test_main import serving, wait_for

PROBLEM = "application/problem+json"


@dataclass
class Front:
    port: int
    log: Path

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer, content


@pytest.fixture(scope="module")
def front(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    nginx, folder, port = program("nginx"), tmp_path_factory.mktemp("nginx"), free_port()
    with serving(models_dir) as (_, url):
        wait_for(f"{url}/readyz", 200)
        file = folder / "nginx.conf"
        file.write_text(
            rewritten(
                "nginx.conf",
                ("purifier:8000", urlsplit(url).netloc),
                ("listen 8080", f"listen 127.0.0.1:{port}"),
                ("/tmp/nginx", f"{folder}/nginx"),
                ("worker_processes auto", "worker_processes 1"),
                ("/dev/stdout", f"{folder}/access.log"),
                ("_timeout 10s", "_timeout 1s"),  # of a client's header and body
            )
        )
        command = [nginx, "-c", str(file), "-p", str(folder), "-g", "daemon off;"]
        with running(command, lambda: listens(port), folder / "nginx.log"):
            yield Front(port, folder / "access.log")


def test_it_classifies_and_passes_the_request_id_on(front: Front) -> None:
    answer, content = front.ask("POST", "/classify", digit(), X_Request_ID="from-the-client.1")
    assert answer.status == 200
    assert json.loads(content)["label"] == 3
    assert answer.getheader("X-Request-ID") == "from-the-client.1"


def test_an_insane_request_id_is_replaced(front: Front) -> None:
    answer, _ = front.ask("POST", "/classify", digit(), X_Request_ID='"}{"x')
    assert (answer.getheader("X-Request-ID") or "").isalnum()


def test_an_oversize_body_is_a_problem(front: Front) -> None:
    with socket.create_connection(("127.0.0.1", front.port), timeout=10) as connection:
        connection.sendall(
            b"POST /classify HTTP/1.1\r\nHost: x\r\nX-Request-ID: big\r\nContent-Length: 40000000\r\n\r\n"
        )
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        problem = json.loads(answer.read())
    assert (answer.status, answer.getheader("Content-Type")) == (413, PROBLEM)
    assert (problem["status"], problem["request_id"]) == (413, "big")
    assert problem["error"] == problem["detail"] == "the body is too large; allowed: at most 36 MiB"


@pytest.mark.parametrize(
    "sent", [b"", b"POST /classify HT", b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab"]
)
def test_a_client_that_stops_sending_is_cut(front: Front, sent: bytes) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", front.port), timeout=10) as connection:
        connection.sendall(sent)
        try:
            while connection.recv(4096):
                pass
        except ConnectionResetError:
            pass
    assert time.monotonic() - began < 5


def test_metrics_are_not_for_clients(front: Front) -> None:
    answer, content = front.ask("GET", "/metrics")
    assert (answer.status, answer.getheader("Content-Type")) == (404, PROBLEM)
    assert json.loads(content)["status"] == 404


def test_the_services_own_problems_pass_unchanged(front: Front) -> None:
    answer, content = front.ask("GET", "/samples/mnist/4711")
    assert answer.status == 404
    assert "4711" in json.loads(content)["detail"]


def test_the_access_log_is_json_without_the_query(front: Front) -> None:
    front.ask("GET", "/samples?api_key=s3cret", X_Request_ID="logged")
    until(lambda: '"logged"' in front.log.read_text())  # it is written behind the answer
    lines = [json.loads(line) for line in front.log.read_text().splitlines()]
    (line,) = [line for line in lines if line["request_id"] == "logged"]
    assert (line["method"], line["path"]) == ("GET", "/samples")
    assert "s3cret" not in front.log.read_text()
