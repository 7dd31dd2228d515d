"""What the command does: find pictures, run the plan until it ends or Ctrl-C, and say what was found."""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from service.cpus import usable_cpus
from service.loadtest import options, page, table
from service.loadtest.errors import TargetError
from service.loadtest.loops import Stop
from service.loadtest.plan import Findings, Plan
from service.loadtest.progress import Progress
from service.loadtest.sending import check_target, connections, sender

_SAMPLES = 16
_INTERRUPTED = 130


def run(chosen: argparse.Namespace) -> int:
    """Print the table and, last, one line of JSON; write the HTML where asked. 130 after Ctrl-C.

    Raises:
        TargetError: the target is not allowed, does not answer, or refuses the pictures.
        OSError: a picture cannot be read, or the report not written.
    """
    url = check_target(chosen.url, allow_remote=chosen.allow_remote)
    found = Findings()
    facts = asyncio.run(_measure(url, chosen, options.plan(chosen), found))
    print(table.text(found))
    print(json.dumps({**facts, **found.as_json()}))
    if chosen.html is not None:
        chosen.html.write_text(page.html(found, facts), encoding="utf-8")
    return _INTERRUPTED if found.interrupted else 0


async def _measure(url: str, chosen: argparse.Namespace, plan: Plan, found: Findings) -> dict[str, str]:
    stop = Stop()
    async with connections(url, chosen.timeout) as client:
        bodies = [path.read_bytes() for path in chosen.image] if chosen.image else await _samples(client)
        send = sender(client, chosen.path, bodies)
        await _first(client, chosen.path, bodies[0])
        facts = {"target": url + chosen.path, **await _server(client), **_here()}
        with interrupting(stop):
            await plan.run(send, sender(client, chosen.no_op), found, stop, Progress(plan.total_s, sys.stderr))
    return facts


async def _samples(client: httpx.AsyncClient) -> list[bytes]:
    """The first test images that the service ships."""
    try:
        answers = [await client.get(f"/samples/mnist/{index}") for index in range(_SAMPLES)]
    except httpx.HTTPError as error:
        raise TargetError(f"{client.base_url} does not answer: {str(error) or type(error).__name__}") from error
    refused = [answer for answer in answers if not answer.is_success]
    if refused:
        raise TargetError(
            f"GET {refused[0].url} answers {refused[0].status_code}; wait until the service is ready, or give pictures "
            "with --image where it ships none"
        )
    return [answer.content for answer in answers]


async def _first(client: httpx.AsyncClient, path: str, body: bytes) -> None:
    """One request before all others, so that a wrong path is told at once."""
    try:
        answer = await client.post(path, content=body, headers={"Content-Type": "image/png"})
    except httpx.HTTPError as error:
        raise TargetError(f"POST {path} does not answer: {str(error) or type(error).__name__}") from error
    if not answer.is_success:
        raise TargetError(f"POST {path} answers {answer.status_code}; allowed: a path that answers pictures by 2xx")


async def _server(client: httpx.AsyncClient) -> dict[str, str]:
    """What the service says that it runs on; nothing where it does not say."""
    try:
        answer = await client.get("/readyz")
        ready = answer.json() if answer.is_success else {}
    except (httpx.HTTPError, ValueError):
        return {}
    if not isinstance(ready, dict):
        return {}
    told = {name: value if isinstance(value, str) else json.dumps(value) for name, value in ready.items()}
    return {f"server {name}": value for name, value in told.items()}


def _here() -> dict[str, str]:
    return {
        "generator": f"{platform.platform()}, {usable_cpus()} CPUs, Python {platform.python_version()}",
        "when": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


@contextmanager
def interrupting(stop: Stop) -> Iterator[None]:
    """The first Ctrl-C asks to stop; the next one ends the process as usual."""
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        print("\nstopping; again to give up", file=sys.stderr)
        stop.asked.set()

    loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
