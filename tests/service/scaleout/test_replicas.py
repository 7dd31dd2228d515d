"""Ray is started on this machine: one life of two replicas, told in the order in which it happens."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import httpx
import pytest

from tests.service.contract import CONTRACT, ENVIRONMENT, Check, asker
from tests.service.scaleout.clients import Client
from tests.service.scaleout.running import Scaled, lives, scaled, within

_CLIENTS = 4
# Longer than a new replica takes to start on a busy machine.
_REPLACED_S = 120


@pytest.fixture(scope="module")
def server(models_dir: Path) -> Iterator[Scaled]:
    with scaled(models_dir, **ENVIRONMENT) as server:
        yield server


def test_a_killed_replica_costs_no_client_its_answer_and_is_replaced(server: Scaled) -> None:
    leave = Event()
    clients = [Client(server.url, leave) for _ in range(_CLIENTS)]
    for client in clients:
        client.start()
    assert within(30, lambda: all(len(client.answers) > 10 for client in clients))
    before = server.replicas()
    assert len(before) == 2
    killed = min(before)
    os.kill(killed, signal.SIGKILL)
    assert within(20, lambda: not lives(killed))
    gone = time.monotonic()
    counts = [len(client.answers) for client in clients]
    assert within(30, lambda: all(len(c.answers) > n + 20 for c, n in zip(clients, counts, strict=True)))
    leave.set()
    for client in clients:
        client.join(30)
    assert {status for client in clients for status in client.answers} == {200}
    failed = [round(begun - gone, 3) for client in clients for begun in client.failed]
    # What was under way in the dead replica, and was asked again while it died.
    assert len(failed) <= 2 * _CLIENTS
    assert [begun for begun in failed if begun > 0] == []
    assert len(set.union(*(client.bodies for client in clients))) == 1
    assert within(_REPLACED_S, lambda: len(server.replicas() - {killed}) == 2)


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__.strip("_"))
def test_two_replicas(server: Scaled, check: Check) -> None:
    with asker(server.url) as client:
        check(client)


def test_what_the_settings_name_listens_where_they_say(server: Scaled) -> None:
    port = int(httpx.URL(server.url).port or 0)
    assert _listeners(port) == {"0100007F"}  # 127.0.0.1


def _listeners(port: int) -> set[str]:
    """The addresses, as the kernel writes them, at which somebody listens on that port."""
    rows = [line.split() for file in ("tcp", "tcp6") for line in Path(f"/proc/net/{file}").read_text().splitlines()[1:]]
    listening = [row[1].split(":") for row in rows if row[3] == "0A"]
    return {address for address, found in listening if int(found, 16) == port}


def test_at_sigterm_it_ends_well_and_leaves_no_process(server: Scaled) -> None:
    processes = server.processes()
    assert len(processes) > 5
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0, server.log.read_text()
    assert within(20, lambda: not any(lives(pid) for pid in processes))
