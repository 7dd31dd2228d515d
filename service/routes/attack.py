"""POST /attack: an adversarial image for a picture or a shipped sample, and what the defense makes of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request, Response

from service import images
from service.attacks import ATTACKS, Plan
from service.attempt import Attempt, Goal, attempt, knowledge_of, plan
from service.catalog import Catalog, FloatArray
from service.dependencies import Models, OptionalImageBytes, State, Timer, leash_on, no_parameters
from service.errors import ParameterError
from service.latency import Stopwatch
from service.routes import decoding, encoding
from service.routes.documentation import OF_PICTURES, image_body, method_parameters, png, refusals
from service.routes.routing import Router
from service.schemas.answers import (
    AttackAnswer,
    AttackCost,
    AttackParameters,
    AttackTimings,
    Perturbation,
    RoundedOutcome,
)
from service.schemas.methods import MethodAnswer, MethodsAnswer
from service.schemas.queries import AttackQuery
from service.state import ServiceState

router = Router(tags=["attack"])
HEADERS = {
    "X-Success": "true where this very image (8 bits) fools the attacked target as intended",
    "X-Recovered": "true where the defended answer to this very image is X-Label",
    "X-Label": "the class that was attacked, 0 to 9",
    "X-Adversarial-Label": "the undefended classifier's answer to this very image",
    "X-Purified-Label": "the defended answer to this very image",
}


@router.get("/attacks", dependencies=[Depends(no_parameters)])
async def attacks() -> MethodsAnswer:
    """The methods of POST /attack: parameters with limits and defaults, norms, what each must see, and papers."""
    return MethodsAnswer(methods=tuple(MethodAnswer.of(method) for method in ATTACKS.values()))


@router.post(
    "/attack",
    response_model=AttackAnswer,
    responses={
        200: png("What the attack did; with Accept: image/png the adversarial image alone", HEADERS),
        **OF_PICTURES,
        **refusals(406),
    },
    openapi_extra={**image_body(required=False), "parameters": method_parameters()},
)
async def attack(
    request: Request,
    state: State,
    catalog: Models,
    timer: Timer,
    data: OptionalImageBytes,
    query: Annotated[AttackQuery, Query()],
) -> Response:
    """Attack the picture in the body, or a shipped sample. Stops where the client hangs up or time is over."""
    media_type = encoding.accepted(request, (encoding.JSON, encoding.PNG))
    goal, route = _goal(query), plan(query.method, query.norm, **query.given)
    goal.check(catalog, route)
    image, true_label = await _subject(state, catalog, query, data, timer)
    async with leash_on(request, state, state.settings.attack_timeout_s) as leash:
        result = await state.heavy.run(lambda: attempt(catalog, image, goal, route, timer, leash), timer, leash)
    if media_type == encoding.PNG:
        headers = {**_headers(result), "Vary": "Accept"}
        return encoding.png_response(result.after_rounding.adversarial.image, headers)
    answer = _answer(result, goal, route, true_label, catalog.class_names(goal.dataset), timer)
    return Response(answer.model_dump_json(), media_type=encoding.JSON, headers={"Vary": "Accept"})


def _goal(query: AttackQuery) -> Goal:
    return Goal(query.dataset, query.defense, query.target, query.label, query.target_label, query.eot, query.seed)


async def _subject(
    state: ServiceState, catalog: Catalog, query: AttackQuery, data: bytes | None, timer: Stopwatch
) -> tuple[FloatArray, int | None]:
    """The image to attack, and its true label where it is a shipped sample.

    Raises:
        ParameterError: there is a body and a sample, neither, or no such sample.
        ImageError: the bytes are no picture.
    """
    if data is not None and query.sample is None:
        return await decoding.decoded(state, timer, data), None
    if data is not None or query.sample is None:
        found = "neither a body nor a sample is" if data is None else "both a body and a sample are"
        raise ParameterError(f"{found} given; allowed: a picture as the body, or sample=N, exactly one of them")
    with timer.stage("decode"):
        samples = catalog.samples(query.dataset)
        index = samples.checked(query.sample)
        return images.from_bytes(samples.images[index])[None, None], int(samples.labels[index])


def _headers(result: Attempt) -> dict[str, str]:
    rounded = result.after_rounding
    values = (
        encoding.flag(rounded.success),
        encoding.flag(rounded.recovered),
        str(result.label),
        str(rounded.adversarial.prediction.label),
        str(rounded.purified.prediction.label),
    )
    return dict(zip(HEADERS, values, strict=True))


def _answer(
    result: Attempt,
    goal: Goal,
    route: Plan,
    true_label: int | None,
    class_names: encoding.ClassNames,
    timer: Stopwatch,
) -> AttackAnswer:
    computed, rounded = result.as_computed, result.after_rounding
    return AttackAnswer(
        success=computed.success,
        recovered=computed.recovered,
        knowledge=knowledge_of(goal.target, route.attack),
        true_label=true_label,
        clean=encoding.picture(result.clean, class_names),
        adversarial=encoding.picture(computed.adversarial, class_names),
        purified=encoding.picture(computed.purified, class_names),
        defended_clean=encoding.verdict(result.defended_clean.prediction, class_names),
        perturbation=Perturbation(**result.sizes),
        success_rate=result.success_rate,
        effective_reach=route.reach,
        cost=AttackCost(**vars(result.cost)),
        after_rounding=RoundedOutcome(
            adversarial_label=rounded.adversarial.prediction.label,
            purified_label=rounded.purified.prediction.label,
            success=rounded.success,
            recovered=rounded.recovered,
        ),
        parameters=AttackParameters.of(goal, route, result.label),
        timings_ms=AttackTimings(**timer.read_ms()),
        models=result.models,
    )
