"""Builds the application: routes, errors, timing, and the models, which are loaded while it already answers."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
from fastapi import Depends, FastAPI, Security
from fastapi.security import HTTPBearer

from service import __version__, problems, selftest
from service.access import KeyRing
from service.catalog import Catalog
from service.census import Census
from service.cors import CrossOriginMiddleware
from service.dependencies import each_parameter_once
from service.envelope import EnvelopeMiddleware
from service.errors import StartupError
from service.gate import GateMiddleware
from service.middleware import LatencyMiddleware
from service.oip.models import offered
from service.routes import ROUTERS, health, metrics, page
from service.routes.documentation import ANYWHERE, OF_RESOURCES, with_models
from service.settings import Settings
from service.state import ServiceState

_LOGGER = logging.getLogger(__name__)
_DESCRIPTION = (
    "Classifiers for MNIST and Fashion-MNIST behind a purifier that removes adversarial perturbations. Errors "
    "are `application/problem+json` and say what was found and what is allowed; unknown parameters are errors."
)
OnFailure = Callable[[str], None]


def create_app(settings: Settings, on_failure: OnFailure | None = None) -> FastAPI:
    """The application. Loads nothing until its lifespan starts.

    `on_failure` is called, with a sentence, where the models cannot be loaded; without it the application stays
    up and /readyz says the sentence.

    Raises:
        StartupError: the API keys cannot be read, or others could reach the service, and nothing says who may.
    """
    state = ServiceState(settings)
    keys = KeyRing.of(settings)
    state.metrics.registry.register(Census(state, __version__))

    app = FastAPI(
        title="Adversarial purifier",
        description=_DESCRIPTION,
        version=__version__,
        lifespan=_lifespan(state, on_failure),
        responses=ANYWHERE,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        # It would name whatever host the request names.
        redirect_slashes=False,
    )
    app.state.service = state
    # The last one added is the first that a request meets.
    app.add_middleware(GateMiddleware, settings=settings, keys=keys)
    app.add_middleware(LatencyMiddleware, service=state)
    if settings.cors_origins:
        app.add_middleware(CrossOriginMiddleware, origins=settings.cors_origins)
    app.add_middleware(EnvelopeMiddleware)
    problems.install(app)
    with_models(app)
    for router in ROUTERS:
        dependencies = [Depends(each_parameter_once), *_documented(keys)]
        app.include_router(router, dependencies=dependencies, responses=OF_RESOURCES)
    # Probes and links to the page add what they like to the query.
    app.include_router(health.router)
    app.include_router(metrics.router)
    app.include_router(page.router)
    page.mount_files(app)
    if settings.otel:
        # Imported here, since it is an extra.
        from service import tracing  # noqa: PLC0415

        tracing.install(app)
    return app


def _lifespan(
    state: ServiceState, on_failure: OnFailure | None
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_load, state, on_failure)
            tasks.start_soon(state.batcher.serve)
            tasks.start_soon(state.slow.serve)
            yield
            tasks.cancel_scope.cancel()

    return lifespan


def _documented(keys: KeyRing) -> list[Any]:
    """Lets /docs ask for a key; the gate has looked at it before."""
    return [Security(HTTPBearer(auto_error=False, description="an API key"))] if keys else []


async def _load(state: ServiceState, on_failure: OnFailure | None) -> None:
    settings = state.settings
    try:
        state.catalog = await anyio.to_thread.run_sync(_tested_catalog, settings)
    except StartupError as error:
        state.failure = str(error)
    except Exception:
        _LOGGER.exception("the models could not be loaded")
        state.failure = "the models could not be loaded; the log says why"
    if state.catalog is not None:
        _LOGGER.info("ready: %s", ", ".join(state.catalog.datasets))
        # Not before, for it takes longer than all that classifications need. What is asked for meanwhile opens itself.
        await anyio.to_thread.run_sync(state.catalog.warm_rest, abandon_on_cancel=True)
    elif state.failure is not None and on_failure is not None:
        on_failure(state.failure)


def _tested_catalog(settings: Settings) -> Catalog:
    catalog = Catalog.load(settings.models_dir, settings.device, settings.threads, settings.precision)
    offered(catalog)  # raises where names collide
    selftest.check(catalog)
    return catalog
