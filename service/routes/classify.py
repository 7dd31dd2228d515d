"""POST /classify: the defended answer, with the undefended one beside it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from service import images
from service.dependencies import ImageBytes, Models, State, Timer
from service.prediction import Defended, Defense
from service.routes import encoding
from service.routes.documentation import image_body
from service.schemas import ClassifyAnswer, ClassifyTimings, DefendedQuery

router = APIRouter(tags=["classify"])


@router.post("/classify", openapi_extra=image_body(required=True))
async def classify(
    state: State, catalog: Models, timer: Timer, data: ImageBytes, query: Annotated[DefendedQuery, Query()]
) -> ClassifyAnswer:
    """Name the digit or garment in a picture, behind a defense."""

    def job() -> tuple[Defense, Defended]:
        with timer.stage("decode"):
            image = images.decode(data)
        defense = Defense.of(catalog, query.dataset, query.defense)
        return defense, defense.apply(image, query.seed, timer)

    defense, defended = await state.quick.run(job, timer)
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
