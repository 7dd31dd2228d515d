"""What routes ask for by type: the state, the loaded models, the picture in the body, the stopwatch.

All of them are coroutines, also those that await nothing: FastAPI would send a plain function to a thread. None depends
on another: when they did, resolving them took a third of a small request's time outside the models.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, Request

from service import bodies
from service.catalog import Catalog
from service.errors import ParameterError, shortened
from service.holds import Hold
from service.latency import Stopwatch
from service.leash import Leash
from service.state import ServiceState


def _service(request: Request) -> ServiceState:
    state: ServiceState = request.app.state.service
    return state


def _stopwatch(request: Request) -> Stopwatch:
    stopwatch: Stopwatch = request.state.stopwatch
    return stopwatch


def _hold(request: Request) -> Hold:
    hold: Hold = request.state.hold
    return hold


async def _state(request: Request) -> ServiceState:
    return _service(request)


async def _models(request: Request) -> Catalog:
    return _service(request).loaded()


async def _timer(request: Request) -> Stopwatch:
    return _stopwatch(request)


async def _image_bytes(request: Request) -> bytes:
    """The body's picture; nothing is received before the models are loaded."""
    _service(request).loaded()
    with _stopwatch(request).stage("receive"):
        return await bodies.read_image(request, _hold(request), **_limits(request))


async def _optional_image_bytes(request: Request) -> bytes | None:
    _service(request).loaded()
    with _stopwatch(request).stage("receive"):
        data = await bodies.read_body(request, _hold(request), **_limits(request))
        return await bodies.extract_image(request.headers, data) if data else None


def _limits(request: Request) -> dict[str, Any]:
    settings = _service(request).settings
    return {"max_bytes": settings.max_body_bytes, "timeout_s": settings.body_timeout_s}


State = Annotated[ServiceState, Depends(_state)]
Models = Annotated[Catalog, Depends(_models)]
Timer = Annotated[Stopwatch, Depends(_timer)]


async def no_body(request: Request) -> None:
    """Refuse a body, on routes whose parameters stand in the query.

    Raises:
        MediaTypeError: there is one.
    """
    await bodies.refuse_body(request, timeout_s=_service(request).settings.body_timeout_s)


ImageBytes = Annotated[bytes, Depends(_image_bytes)]
OptionalImageBytes = Annotated[bytes | None, Depends(_optional_image_bytes)]


@asynccontextmanager
async def leash_on(request: Request, state: ServiceState, limit_s: float | None = None) -> AsyncGenerator[Leash, None]:
    """A leash for long work, cut where the client hangs up meanwhile or the server ends. See `cut_when_gone`."""
    leash = Leash(limit_s)
    state.leashes.add(leash)
    try:
        async with cut_when_gone(request, leash.cut):
            yield leash
    finally:
        state.leashes.discard(leash)


@asynccontextmanager
async def cut_when_gone(request: Request, cut: Callable[[], None]) -> AsyncGenerator[None, None]:
    """Call `cut` where the client hangs up meanwhile. The request's body must have been read."""

    async def listen() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        cut()

    # Not a task group, which would wrap the work's own error into a group.
    listener = asyncio.create_task(listen())
    try:
        yield
    finally:
        listener.cancel()


async def each_parameter_once(request: Request) -> None:
    """Refuse a query that names a parameter twice, since one of the values would be ignored.

    Raises:
        ParameterError: it does.
    """
    counts = Counter(name for name, _ in request.query_params.multi_items())
    for name, count in counts.items():
        if count > 1:
            raise ParameterError(f"query parameter {shortened(name)} is given {count} times; allowed: once")


async def no_parameters(request: Request) -> None:
    """Refuse any query, on routes that know none.

    Raises:
        ParameterError: there is one.
    """
    for name in request.query_params:
        raise ParameterError(f"unknown query parameter {shortened(name)}; allowed: none")
