"""GET /healthz and /readyz, for probes, whatever their query."""

from __future__ import annotations

from service.dependencies import State
from service.routes.documentation import refusals
from service.routes.models import runtime_answer
from service.routes.routing import Router
from service.schemas.catalogue import HealthAnswer, ReadyAnswer

router = Router(tags=["health"])


@router.get("/healthz")
async def healthz() -> HealthAnswer:
    """Whether the process lives: true from the start to the end, also while the models are loaded."""
    return HealthAnswer()


@router.get("/readyz", responses=refusals(503))
async def readyz(state: State) -> ReadyAnswer:
    """Whether requests are welcome: 503 until the models are verified and warm, and from SIGTERM on."""
    catalog = state.ready()
    return ReadyAnswer(**dict(runtime_answer(catalog)), datasets=catalog.datasets)
