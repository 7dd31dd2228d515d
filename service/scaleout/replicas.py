"""The application of Ray Serve: replicas, each with the whole service in it. `serve deploy` takes `application`.

Ray is imported where it is used, since it is an extra, and since it reads its environment when it is imported.
"""

from __future__ import annotations

import asyncio
import gc
import logging.config
import math
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from service import logs
from service.access import KeyRing
from service.app import create_app
from service.errors import StartupError
from service.scaleout.options import Scale
from service.settings import ENV_PREFIX, Settings
from service.state import ServiceState

if TYPE_CHECKING:
    from ray.serve import Application

NAME = "purifier"
_PAUSE_S = 0.02
# As many as HAProxy holds connections: the service turns away by itself, long before, and says why.
_ONGOING = 4096


def application(arguments: dict[str, Any]) -> Application:
    """For `serve deploy`: the fields of `Scale` as arguments, all settings from the environment.

    PURIFIER_HOST must say where `http_options.host` listens; unsaid, the service takes itself to be open to others.

    Raises:
        pydantic.ValidationError: an argument or a setting is not allowed.
        StartupError: the API keys cannot be read, or others could reach the service, and nothing says who may.
    """
    said = f"{ENV_PREFIX}HOST" in os.environ
    return replicated(Settings() if said else Settings(host="0.0.0.0"), Scale(**arguments))


def replicated(settings: Settings, scale: Scale) -> Application:
    """The replicas, to be run by Ray Serve.

    Raises:
        StartupError: as `application`.
    """
    KeyRing.of(settings)
    from ray import serve  # noqa: PLC0415

    of_each = shared(settings, scale)

    def build() -> FastAPI:
        return replica(of_each)

    @serve.ingress(build)
    class Replica:
        """What Ray asks whether it is well, and replaces where it is not."""

        app: FastAPI

        async def check_health(self) -> None:
            self.app.state.service.ready()

    bound: Application = serve.deployment(name=NAME, **options(settings, scale))(Replica).bind()
    return bound


def options(settings: Settings, scale: Scale) -> dict[str, Any]:
    """The deployment's options; `serve.yaml` may set others."""
    number: dict[str, Any] = {"num_replicas": scale.replicas}
    if scale.most > scale.replicas:
        autoscaling = {
            "min_replicas": scale.replicas,
            "max_replicas": scale.most,
            # Half of the largest batch is under way while the other half comes in.
            "target_ongoing_requests": max(1, settings.max_batch // 2),
            "upscale_delay_s": 3,
            "downscale_delay_s": 60,
        }
        number = {"num_replicas": "auto", "autoscaling_config": autoscaling}
    return {
        **number,
        "ray_actor_options": {"num_cpus": scale.cpus, "num_gpus": scale.gpus},
        "max_ongoing_requests": _ONGOING,
        "graceful_shutdown_timeout_s": settings.drain_s + settings.shutdown_timeout_s,
        "graceful_shutdown_wait_loop_s": 0.5,
        "health_check_period_s": 5,
        # The service has an access log of its own, without what a client may have put into a path.
        "logging_config": {"enable_access_log": False},
    }


def shared(settings: Settings, scale: Scale) -> Settings:
    """The settings of one replica: its part of the processors and of the rate limit; a GPU where it was given one.

    All replicas together let a client ask at most as often as one service would.
    """
    return settings.model_copy(
        update={
            "threads": settings.threads or max(1, int(scale.cpus)),
            "device": "cuda" if scale.gpus and settings.device == "auto" else settings.device,
            "rate_limit": math.ceil(settings.requests_per_minute / scale.most),
        }
    )


def replica(settings: Settings) -> FastAPI:
    """The application, whose start ends only once the models are loaded: Ray sends nothing before."""
    logging.config.dictConfig(logs.config(settings.log_format, settings.log_level))
    app = create_app(settings)
    usual = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[Any, None]:
        async with usual(app) as state:
            await _loaded(app.state.service)
            gc.freeze()  # as __main__ does
            yield state

    app.router.lifespan_context = lifespan
    return app


async def _loaded(service: ServiceState) -> None:
    while service.catalog is None:
        if service.failure is not None:
            raise StartupError(service.failure)
        await asyncio.sleep(_PAUSE_S)
