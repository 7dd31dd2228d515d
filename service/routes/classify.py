"""POST /classify: the defended answer, with the undefended one beside it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request

from service.dependencies import ImageBytes, Models, State, Timer
from service.routes import defending, encoding
from service.routes.documentation import OF_PICTURES, image_body
from service.routes.routing import Router
from service.schemas.answers import ClassifyAnswer, ClassifyTimings
from service.schemas.queries import DefendedQuery

router = Router(tags=["classify"])


@router.post("/classify", responses=OF_PICTURES, openapi_extra=image_body(required=True))
async def classify(
    request: Request,
    state: State,
    catalog: Models,
    timer: Timer,
    data: ImageBytes,
    query: Annotated[DefendedQuery, Query()],
) -> ClassifyAnswer:
    """Name the digit or garment in a picture, behind a defense."""
    defense, defended = await defending.defended(request, state, timer, data, query)
    class_names = catalog.class_names(query.dataset)
    return ClassifyAnswer(
        **dict(encoding.verdict(defended.prediction, class_names)),
        dataset=query.dataset,
        defense=query.defense,
        probabilities=tuple(defended.prediction.probabilities.tolist()),
        undefended=encoding.verdict(defended.undefended, class_names),
        evidence=encoding.evidence(defended),
        timings_ms=ClassifyTimings(**timer.read_ms()),
        models=defense.models,
    )
