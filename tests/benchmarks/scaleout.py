"""`python -m tests.benchmarks.scaleout`: what Ray Serve costs and gives on this machine, for docs/scale.md.

About five minutes on two quiet cores, of which Ray's starts take most. Progress goes to stderr, a table to stdout; the
last line is one JSON object. `tiny` models compute next to nothing, so that what is measured is the way to them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from service.cpus import usable_cpus
from service.loadtest.loops import Stop, closed_loop
from service.loadtest.samples import Stage
from service.loadtest.sending import connections, sender
from service.loadtest.table import cell, lay_out
from tests.benchmarks import replicas
from tests.benchmarks.contestants import Contestant
from tests.benchmarks.running import running
from tests.service import tiny_models
from tests.service.asking import digit
from tests.service.oip.wire import HEADER, as_binary

_CLASSIFY = "/classify"
_IMAGES = 32
_PIPELINES = {"tiny": "mnist-pipeline-autoencoder", "shipped": "mnist-autoencoder_pipeline"}
_OURS = (b"service", b"ray", b"haproxy", b"gcs_server")
_KILLED_AFTER_S, _KILL_S, _GROW_S, _MANY_USERS = 3, 12, 30, 48
_PATIENCE_S = 60
Row = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    """Measure everything, one server at a time."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scaleout", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load (default 4)")
    seconds = parser.parse_args(arguments).seconds
    with tempfile.TemporaryDirectory() as folder:
        tiny = tiny_models.build(Path(folder) / "models")
        rows = [_measured(server, seconds, "tiny") for server in _servers(tiny)[:3]]
    shipped = _servers(None)
    rows += [_measured(server, seconds, "shipped") for server in (*shipped[:2], *shipped[3:])]
    killed, grown = _killed(shipped[4]), _grown(_ray("Ray, 1 to 2 replicas", 1, "--max-replicas", "2"))
    names = list(rows[0])
    print(lay_out(names, [[cell(row[name]) for name in names] for row in rows]))
    machine = f"{platform.platform()}, {usable_cpus()} CPUs"
    print(f"\nKilled under load: {killed}\nGrown under load: {grown}\n{machine}")
    print(json.dumps({"machine": machine, "seconds": seconds, "rows": rows, "killed": killed, "grown": grown}))
    return 0


def _servers(models: Path | None) -> list[Contestant]:
    """Ours on uvicorn, on Ray with and without HAProxy, with two threads, and two replicas."""
    chosen = {} if models is None else {"PURIFIER_MODELS_DIR": str(models)}
    without = {**chosen, "RAY_SERVE_ENABLE_HA_PROXY": "0"}
    return [
        Contestant("uvicorn", ("-m", "service", "--threads", "1"), _CLASSIFY, environment=chosen),
        _ray("Ray, 1 replica", 1, environment=chosen),
        _ray("Ray, 1 replica, no HAProxy", 1, environment=without),
        Contestant("uvicorn, 2 threads", ("-m", "service", "--threads", "2"), _CLASSIFY, environment=chosen),
        _ray("Ray, 2 replicas", 2, environment=chosen),
    ]


def _ray(name: str, number: int, *more: str, environment: dict[str, str] | None = None) -> Contestant:
    command = ("-m", "service.scaleout", "--replicas", str(number), "--cpus", "1", *more)
    return Contestant(name, command, _CLASSIFY, environment=environment or {})


def _measured(server: Contestant, seconds: float, models: str) -> Row:
    """Pictures one by one from 1 and 16 users, then batches from 4 users."""
    _say(f"{server.name}, {models} models")
    with running(server, digit()) as (url, ready_s):
        stages = asyncio.run(_loads(url, seconds, _PIPELINES[models]))
        held = replicas.held_mib(_OURS)
    one, sixteen, batches = (stage.summary() for stage in stages)
    return {
        "server": server.name,
        "models": models,
        "ready s": ready_s,
        "MiB": held,
        "p50 ms, 1 user": one["p50_ms"],
        "p99 ms, 1 user": one["p99_ms"],
        "requests/s, 16 users": sixteen["achieved_rps"],
        "p50 ms, 16 users": sixteen["p50_ms"],
        "images/s, batches": batches["achieved_rps"] * _IMAGES,
        "failed": float(sum(stage["failed"] + stage["shed"] for stage in (one, sixteen, batches))),
    }


async def _loads(url: str, seconds: float, pipeline: str) -> list[Stage]:
    images = np.repeat((np.arange(_IMAGES, dtype=np.float32) / _IMAGES)[:, None, None, None], 28, axis=2).repeat(28, 3)
    body, headers = as_binary(images)
    async with connections(url, timeout_s=60) as client:
        send = sender(client, _CLASSIFY, [digit(label) for label in range(10)])
        await closed_loop(send, 4, seconds / 2, Stop())
        pictures = [await closed_loop(send, users, seconds, Stop()) for users in (1, 16)]
        client.headers[HEADER] = headers[HEADER]
        send = sender(client, f"/v2/models/{pipeline}/infer", [body], "application/octet-stream")
        await closed_loop(send, 4, seconds / 4, Stop())
        return [*pictures, await closed_loop(send, 4, seconds, Stop())]


def _killed(server: Contestant) -> Row:
    """One of two replicas is killed while 8 users ask."""
    _say(f"{server.name}, one killed")
    with running(server, digit()) as (url, _):
        stage, killed_s, gone = asyncio.run(_load_and_kill(url))
        back = replicas.wait_for(2, _PATIENCE_S)
    failures = replicas.failed(stage)
    return {
        "requests": len(stage.samples),
        "failed": len(failures),
        "the last of them was sent, s after the kill": failures[-1] - killed_s if failures else None,
        "slowest answer ms": max(sample.latency_ms for sample in stage.samples if sample.answered),
        "requests/s before": replicas.rate(stage, 0, killed_s),
        "requests/s after": replicas.rate(stage, killed_s + 1, _KILL_S),
        "replaced after s": back - gone if back is not None else None,
    }


async def _load_and_kill(url: str) -> tuple[Stage, float, float]:
    async with connections(url, timeout_s=60) as client:
        send = sender(client, _CLASSIFY, [digit()])
        await closed_loop(send, 8, 1, Stop())
        began = time.perf_counter()
        load = asyncio.create_task(closed_loop(send, 8, _KILL_S, Stop()))
        await asyncio.sleep(_KILLED_AFTER_S)
        gone = replicas.kill_one()
        return await load, gone - began, gone


def _grown(server: Contestant) -> Row:
    """One replica may become two while 48 users ask, which is thrice its target."""
    _say(f"{server.name}, under load")
    with running(server, digit()) as (url, _):
        stage, second_s = asyncio.run(_load_and_grow(url))
    return {
        "requests": len(stage.samples),
        "failed": len(replicas.failed(stage)),
        "second replica after s": second_s,
        "requests/s in the first 3 s": replicas.rate(stage, 0, 3),
        "requests/s in the last 5 s": replicas.rate(stage, _GROW_S - 5, _GROW_S),
    }


async def _load_and_grow(url: str) -> tuple[Stage, float | None]:
    async with connections(url, timeout_s=60) as client:
        send = sender(client, _CLASSIFY, [digit()])
        await closed_loop(send, 1, 1, Stop())
        began = time.perf_counter()
        grown = asyncio.create_task(asyncio.to_thread(replicas.wait_for, 2, _GROW_S))
        stage = await closed_loop(send, _MANY_USERS, _GROW_S, Stop())
        second = await grown
        return stage, second - began if second is not None else None


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
