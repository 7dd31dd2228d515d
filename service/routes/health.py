"""GET /healthz and /readyz, for probes, whatever their query."""

from __future__ import annotations

from fastapi import APIRouter

from service.dependencies import State
from service.routes.documentation import refusals
from service.routes.models import runtime_answer
from service.schemas.catalogue import HealthAnswer, ReadyAnswer

router = APIRouter(tags=["health"])


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz")
async def healthz() -> HealthAnswer:
    """Whether the process lives: true from the start to the end, also while the models are loaded."""
    return HealthAnswer()


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", responses=refusals(503))
async def readyz(state: State) -> ReadyAnswer:
    """Whether requests are welcome: 503 until the models are verified and warm, and from SIGTERM on."""
    catalog = state.ready()
    return ReadyAnswer(**dict(runtime_answer(catalog)), datasets=catalog.datasets)
