"""From the bytes of a picture to its defended answer, as /classify and /purify give it."""

from __future__ import annotations

from fastapi import Request

from service.dependencies import cut_when_gone
from service.latency import Stopwatch
from service.prediction import Defended, Defense, Question
from service.routes.decoding import decoded
from service.schemas.queries import DefendedQuery
from service.state import ServiceState


async def defended(
    request: Request, state: ServiceState, timer: Stopwatch, data: bytes, query: DefendedQuery
) -> tuple[Defense, Defended]:
    """The answer, computed with whatever else waits; not computed where the client hangs up before, and not to its end
    where it is slow and the client hangs up meanwhile.

    Raises:
        ImageError: the bytes are no picture.
        ParameterError: the defense is unknown.
        BusyError: as many requests wait as may.
        TimeLimitError: the answer was not there in time.
        NotReadyError: the batcher failed and is being restarted.
    """
    image = await decoded(state, timer, data)
    defense = await state.defense(query.dataset, query.defense)
    batcher = state.batcher_of(defense)
    ticket = batcher.enter(defense, Question(image, query.seed), timer)
    async with cut_when_gone(request, ticket.abandon):
        answer: Defended = await batcher.answer(ticket)
    state.metrics.purified(query.dataset, query.defense, answer)
    return defense, answer
