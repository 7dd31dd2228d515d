"""POST /purify: the purified image, as a PNG with the evidence in headers, or as JSON."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from service.dependencies import ImageBytes, Models, State, Timer
from service.prediction import Defended
from service.routes import defending, encoding
from service.routes.documentation import OF_PICTURES, image_body, png, refusals
from service.routes.routing import Router
from service.schemas.answers import ClassifyTimings, PurifyAnswer
from service.schemas.queries import DefendedQuery

router = Router(tags=["purify"])
HEADERS = {
    "X-Residual-L2": "length of the difference of the images, pixels in [0, 1]",
    "X-Residual-Linf": "largest difference of a pixel",
    "X-Disagreement": "true where the label changes through the defense",
    "X-Label-Before": "the classifier's answer to the image as sent, 0 to 9",
    "X-Label-After": "the classifier's answer to the purified image, 0 to 9",
}


@router.post(
    "/purify",
    response_model=PurifyAnswer,
    responses={
        200: png("The purified image; as JSON where Accept prefers it", HEADERS),
        **OF_PICTURES,
        **refusals(406),
    },
    openapi_extra=image_body(required=True),
)
async def purify(
    request: Request,
    state: State,
    catalog: Models,
    timer: Timer,
    data: ImageBytes,
    query: Annotated[DefendedQuery, Query()],
) -> Response:
    """Remove what an attacker may have added to a picture."""
    media_type = encoding.accepted(request, (encoding.PNG, encoding.JSON))
    catalog.check_purifies(query.dataset, query.defense)
    defense, defended = await defending.defended(request, state, timer, data, query)
    if media_type == encoding.PNG:
        return encoding.png_response(defended.purified, {**_headers(defended), "Vary": "Accept"})
    class_names = catalog.class_names(query.dataset)
    answer = PurifyAnswer(
        dataset=query.dataset,
        defense=query.defense,
        image_png=encoding.png_base64(defended.purified),
        before=encoding.verdict(defended.undefended, class_names),
        after=encoding.verdict(defended.prediction, class_names),
        evidence=encoding.evidence(defended),
        timings_ms=ClassifyTimings(**timer.read_ms()),
        models=defense.models,
    )
    return Response(answer.model_dump_json(), media_type=encoding.JSON, headers={"Vary": "Accept"})


def _headers(defended: Defended) -> dict[str, str]:
    values = (
        f"{defended.evidence.residual_l2:.6g}",
        f"{defended.evidence.residual_linf:.6g}",
        encoding.flag(defended.evidence.disagreement),
        str(defended.undefended.label),
        str(defended.prediction.label),
    )
    return dict(zip(HEADERS, values, strict=True))
