"""GET /metrics, for Prometheus."""

from __future__ import annotations

from fastapi import Request, Response
from prometheus_client.exposition import choose_encoder

from service.dependencies import State
from service.routes.documentation import refusals
from service.routes.routing import Router

router = Router(tags=["health"])
_TEXT, _OPENMETRICS = "text/plain", "application/openmetrics-text"
_CONTENT = {media_type: {"schema": {"type": "string"}} for media_type in (_TEXT, _OPENMETRICS)}


@router.get("/metrics", response_class=Response, responses={200: {"content": _CONTENT}, **refusals(401, 403, 429)})
async def metrics(request: Request, state: State) -> Response:
    """Requests, stages, lanes, models and drift, in Prometheus' text format or as OpenMetrics."""
    try:
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
    except TypeError:
        # It compares versions, and one that was asked for is not of numbers alone.
        encode, media_type = choose_encoder("")
    return Response(encode(state.metrics.registry), headers={"Content-Type": media_type})
