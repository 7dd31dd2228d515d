"""Builds the application: routes, errors, timing, and the models, which are loaded while it already answers."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from importlib import metadata

import anyio
import anyio.to_thread
from fastapi import Depends, FastAPI

from service import problems, selftest
from service.catalog import Catalog
from service.census import Census
from service.dependencies import each_parameter_once
from service.envelope import EnvelopeMiddleware
from service.errors import StartupError
from service.middleware import LatencyMiddleware
from service.routes import ROUTERS, health, metrics, page
from service.routes.documentation import PROBLEMS
from service.settings import Settings
from service.state import ServiceState

_LOGGER = logging.getLogger(__name__)
_DISTRIBUTION = "adversarial-purifier"
_DESCRIPTION = (
    "Classifiers for MNIST and Fashion-MNIST behind a purifier that removes adversarial perturbations. Errors "
    "are `application/problem+json` and say what was found and what is allowed; unknown parameters are errors."
)
OnFailure = Callable[[str], None]


def create_app(settings: Settings, on_failure: OnFailure | None = None) -> FastAPI:
    """The application. Loads nothing until its lifespan starts.

    `on_failure` is called, with a sentence, where the models cannot be loaded; without it the application stays
    up and /readyz says the sentence.
    """
    state = ServiceState(settings)
    state.metrics.registry.register(Census(state, _version()))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_load, state, on_failure)
            tasks.start_soon(state.batcher.serve)
            yield
            tasks.cancel_scope.cancel()

    app = FastAPI(
        title="Adversarial purifier",
        description=_DESCRIPTION,
        version=_version(),
        lifespan=lifespan,
        responses=PROBLEMS,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    app.state.service = state
    app.add_middleware(LatencyMiddleware, service=state)
    app.add_middleware(EnvelopeMiddleware)
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router, dependencies=[Depends(each_parameter_once)])
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
    elif state.failure is not None and on_failure is not None:
        on_failure(state.failure)


def _tested_catalog(settings: Settings) -> Catalog:
    catalog = Catalog.load(settings.models_dir, settings.device, settings.threads, settings.precision)
    selftest.check(catalog)
    return catalog


def _version() -> str:
    try:
        return metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "0.0.0"
