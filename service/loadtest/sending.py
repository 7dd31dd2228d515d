"""The only file here that talks HTTP: opens connections to the target, sends one request, times its answer."""

from __future__ import annotations

import gc
import ipaddress
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
from httpx_aiohttp import AiohttpTransport

from service.errors import shortened
from service.loadtest.errors import TargetError
from service.loadtest.samples import Sample, Send

_MOST_CONNECTIONS = 1024


def check_target(url: str, *, allow_remote: bool) -> str:
    """The URL without a slash at its end.

    Raises:
        TargetError: it is no http(s) URL of a host and a path alone, or its host is not this machine and that was
            not allowed.
    """
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        parts = httpx.URL()
    if not parts.host or parts.scheme not in {"http", "https"} or any(mark in url for mark in "?#@"):
        raise TargetError(
            f"the target is {shortened(url)}; allowed: http://HOST:PORT or https://HOST:PORT, without a user, a query "
            "or a fragment"
        )
    if not (allow_remote or _is_loopback(parts.host)):
        raise TargetError(
            f"the target's host is {shortened(parts.host)}; allowed: localhost and loopback addresses, or with "
            "--allow-remote a host whose owner has agreed to be loaded"
        )
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@asynccontextmanager
async def connections(url: str, timeout_s: float) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a connection for each request in flight, over aiohttp.

    httpx's own pool is slower than the service from a few dozen connections on (encode/httpx#3215). What the process
    holds already is kept from the garbage collector meanwhile: its pauses would be counted as the service's.
    """
    limits = httpx.Limits(max_connections=_MOST_CONNECTIONS)
    transport = AiohttpTransport(limits=limits)
    async with httpx.AsyncClient(base_url=url, transport=transport, timeout=timeout_s) as client:
        gc.freeze()
        try:
            yield client
        finally:
            gc.unfreeze()


def sender(client: httpx.AsyncClient, path: str, bodies: Sequence[bytes] = (), content_type: str = "image/png") -> Send:
    """Sends the bodies in turn by POST; without bodies sends GET."""
    headers = {"Content-Type": content_type}
    sent = 0

    async def send(due_s: float, due: float) -> Sample:
        nonlocal sent
        body = bodies[sent % len(bodies)] if bodies else None
        sent += 1
        began = time.perf_counter()
        try:
            answer = await (client.get(path) if body is None else client.post(path, content=body, headers=headers))
        except httpx.HTTPError as error:
            ended = time.perf_counter()
            return Sample(due_s, (ended - due) * 1000, (ended - began) * 1000, 0, type(error).__name__)
        ended = time.perf_counter()
        return Sample(
            due_s, (ended - due) * 1000, (ended - began) * 1000, answer.status_code, stages_ms=_timings(answer)
        )

    return send


def _timings(answer: httpx.Response) -> Mapping[str, float] | None:
    """`timings_ms` of an answer in JSON that has it."""
    if not (answer.is_success and answer.headers.get("content-type") == "application/json"):
        return None
    found: Any = answer.json()
    timings = found.get("timings_ms") if isinstance(found, dict) else None
    return timings if isinstance(timings, dict) else None
