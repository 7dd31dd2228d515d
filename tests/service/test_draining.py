"""A running server is told to end, or is killed, while clients ask it; no answer may get lost or change."""

from __future__ import annotations

import http.client
import re
import signal
import time
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

from tests.service.asking import digit
from tests.service.test_main import serving, wait_for

_CLIENTS = 6
_PNG = {"Content-Type": "image/png"}


class Client(Thread):
    """Asks over a kept connection, one request after the other, until it is told to leave.

    As a load balancer does. One that connects again and again may meet the moment at which the listener closes: the
    kernel resets connections that it has taken and the server has not.
    """

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._address = urlsplit(url).netloc
        self.answered = 0
        self.asked_to_close = 0
        self.failures: list[object] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=20)
        while not self.failures and not self.asked_to_close:
            try:
                connection.request("POST", "/classify", digit(), _PNG)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                return
            if answer.status != 200:
                self.failures.append(answer.status)
            self.answered += 1
            self.asked_to_close += answer.getheader("Connection") == "close"


def test_sigterm_under_load_fails_no_request(models_dir: Path) -> None:
    with serving(models_dir, PURIFIER_DRAIN_S="3") as (process, url):
        wait_for(f"{url}/readyz", 200)
        clients = [Client(url) for _ in range(_CLIENTS)]
        for client in clients:
            client.start()
        time.sleep(0.5)
        before = [client.answered for client in clients]
        process.send_signal(signal.SIGTERM)
        for client in clients:
            client.join(20)
        assert process.wait(20) in {0, -signal.SIGTERM}
    assert [client.failures for client in clients] == [[]] * _CLIENTS
    assert all(client.answered > count > 0 for client, count in zip(clients, before, strict=True))
    # And were told to leave once it had begun.
    assert all(client.asked_to_close > 0 for client in clients)


def answers_of(url: str) -> list[object]:
    """What is said of one picture: without the timings, and as bytes."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    told: list[object] = []
    for path in ("/classify?seed=7", "/purify?seed=7"):
        connection.request("POST", path, digit(), _PNG)
        content = connection.getresponse().read()
        told.append(re.sub(rb'"timings_ms":\{[^}]*\}', b"", content))
    connection.close()
    return told


def test_a_killed_server_answers_the_same_when_it_is_back(models_dir: Path) -> None:
    answers = []
    for _ in range(2):
        with serving(models_dir) as (process, url):
            wait_for(f"{url}/readyz", 200)
            answers.append(answers_of(url))
            process.send_signal(signal.SIGKILL)
            assert process.wait(20) == -signal.SIGKILL
    assert answers[0] == answers[1]
    assert b'"label":3' in bytes(str(answers[0][0]), "ascii")


def test_what_takes_longer_than_the_shutdown_may_is_refused_and_not_cut_off(models_dir: Path) -> None:
    long = "method=cw&steps=1000&search_steps=2&target=pipeline&eot=32"
    paths = [f"/attack?sample=1&{long}", "/attack?sample=1"]  # the second one waits for the first
    told: list[tuple[int, str | None, bytes]] = []

    def ask(url: str, path: str) -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
        connection.request("POST", path)
        answer = connection.getresponse()
        told.append((answer.status, answer.getheader("Content-Type"), answer.read()))
        connection.close()

    with serving(models_dir, PURIFIER_SHUTDOWN_TIMEOUT_S="1", PURIFIER_DRAIN_S="0") as (process, url):
        wait_for(f"{url}/readyz", 200)
        clients = [Thread(target=ask, args=(url, path), daemon=True) for path in paths]
        for client in clients:
            client.start()
            time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        for client in clients:
            client.join(20)
        assert process.wait(20) in {0, -signal.SIGTERM}
    assert [(status, kind) for status, kind, _ in told] == [(503, "application/problem+json")] * 2
    assert all(b"the server is shutting down" in content for _, _, content in told)
