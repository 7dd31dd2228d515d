"""Requests that are right, and the answers that they get alone: what a soak compares with."""

from __future__ import annotations

import json
from dataclasses import dataclass

import httpx

from service.loadtest.errors import TargetError

_SAMPLES = 8
_JSON = "application/json"


@dataclass(frozen=True)
class Question:
    """A request that is right, and the answer that it got alone."""

    path: str
    media_type: str
    body: bytes
    known: object = None


async def a_model(client: httpx.AsyncClient) -> str:
    """A model of /v2, and a fused one where there is one.

    Raises:
        TargetError: there is no /v2.
    """
    models: list[str] = _found(await client.get("/v2")).json()["models"]
    return next((name for name in models if "pipeline" in name), models[0])


async def questions(client: httpx.AsyncClient, model: str) -> list[Question]:
    """Of each route that computes, over shipped samples; they have no answers yet.

    Raises:
        TargetError: there are no samples.
    """
    asked = []
    for index in range(_SAMPLES):
        digit = _found(await client.get(f"/samples/mnist/{index}")).content
        garment = _found(await client.get(f"/samples/fashion-mnist/{index}")).content
        asked.append(Question("/classify", "image/png", digit))
        asked.append(Question(f"/classify?dataset=fashion-mnist&seed={index}", "image/png", garment))
        asked.append(Question("/purify", "image/png", digit))
    image = {"name": "images", "datatype": "FP32", "shape": [1, 1, 28, 28], "data": [0.5] * 784}
    return [*asked, Question(f"/v2/models/{model}/infer", _JSON, json.dumps({"inputs": [image]}).encode())]


async def alone(client: httpx.AsyncClient, question: Question) -> Question:
    """The question with its answer.

    Raises:
        TargetError: it is not answered.
    """
    answer = _found(await posted(client, question))
    return Question(question.path, question.media_type, question.body, told(answer))


async def posted(client: httpx.AsyncClient, question: Question) -> httpx.Response:
    """What comes."""
    return await client.post(question.path, content=question.body, headers={"Content-Type": question.media_type})


def _found(answer: httpx.Response) -> httpx.Response:
    if not answer.is_success:
        raise TargetError(
            f"{answer.request.method} {answer.request.url} answers {answer.status_code}; a soak needs the whole "
            "service, ready and without keys"
        )
    return answer


def told(answer: httpx.Response) -> object:
    """What must be the same again: all but the timings."""
    if answer.headers.get("content-type") != _JSON:
        return answer.content
    return {name: value for name, value in answer.json().items() if name != "timings_ms"}
