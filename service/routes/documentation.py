"""What FastAPI cannot see by itself, for /docs: bodies that are read by hand, and errors."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service import bodies
from service.attacks import ATTACKS, Parameter
from service.errors import ServiceError
from service.oip.request import IndexRequest, InferRequest
from service.schemas.answers import Problem

Responses = dict[int | str, dict[str, Any]]
_BINARY: dict[str, Any] = {"type": "string", "format": "binary"}
_PLACE = "#/components/schemas/{model}"
_MODELS: tuple[type[BaseModel], ...] = (Problem, InferRequest, IndexRequest)
_PROBLEM = {"application/problem+json": {"schema": {"$ref": _PLACE.format(model="Problem")}}}
_WAITING = {"Retry-After": {"description": "seconds until the same request may succeed", "schema": {"type": "integer"}}}
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "how to send a key", "schema": {"type": "string"}}},
    429: _WAITING,
    503: _WAITING,
}


def refusals(*statuses: int) -> Responses:
    """The statuses of errors that a route may answer with, described by the titles of our errors of that status."""
    titles: dict[int, list[str]] = {}
    errors: list[type[ServiceError]] = [ServiceError, *ServiceError.__subclasses__()]
    for error in errors:
        titles.setdefault(error.status, []).append(error.title)
    return {
        status: {
            "description": ", ".join(dict.fromkeys(titles.get(status, [HTTPStatus(status).phrase]))),
            "content": _PROBLEM,
            "headers": _HEADERS.get(status, {}),
        }
        for status in statuses
    }


ANYWHERE = refusals(500)
# By the gate, by unknown or repeated parameters, and before the models are loaded.
OF_RESOURCES = refusals(401, 403, 422, 429, 503)
OF_BODIES = refusals(408, 413, 415)
OF_PICTURES = OF_BODIES | refusals(504)


def refer(model: type[BaseModel]) -> dict[str, str]:
    """A reference to the schema of a model among `_MODELS`."""
    return {"$ref": _PLACE.format(model=model.__name__)}


def with_models(app: FastAPI) -> None:
    """Put the schemas where `refer` finds them. FastAPI does so only for what it reads or writes itself, as JSON."""
    usual = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _, schemas = models_json_schema([(model, "validation") for model in _MODELS], ref_template=_PLACE)
            usual()["components"]["schemas"].update(schemas["$defs"])
        return usual()

    app.openapi = openapi  # type: ignore[method-assign]


def image_body(*, required: bool) -> dict[str, Any]:
    """The body as `service.bodies` reads it."""
    form = {"type": "object", "required": [bodies.FIELD], "properties": {bodies.FIELD: _BINARY}}
    raw = {media_type: {"schema": _BINARY} for media_type in bodies.RAW_TYPES}
    description = "A PNG or JPEG of at most 2048 x 2048 pixels, bright strokes on black."
    content = {**raw, bodies.FORM_TYPE: {"schema": form}}
    return {"requestBody": {"required": required, "description": description, "content": content}}


def method_parameters() -> list[dict[str, Any]]:
    """The hyper-parameters of all attacks as query parameters, with what each method makes of them."""
    uses: dict[str, list[tuple[str, Parameter]]] = {}
    for attack in ATTACKS.values():
        for parameter in attack.parameters():
            uses.setdefault(parameter.name, []).append((attack.name, parameter))
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "schema": _schema([parameter for _, parameter in methods]),
            "description": "; ".join(f"{method}: {one.description}, {one.allowed}" for method, one in methods),
        }
        for name, methods in uses.items()
    ]


def _schema(parameters: list[Parameter]) -> dict[str, Any]:
    """What at least one of the methods allows."""
    schema: dict[str, Any] = {"type": parameters[0].type}
    minima = [one.minimum for one in parameters if one.minimum is not None]
    maxima = [one.maximum for one in parameters if one.maximum is not None]
    if minima and maxima:
        schema |= {"minimum": min(minima), "maximum": max(maxima)}
    return schema


def png(description: str, headers: dict[str, str]) -> dict[str, Any]:
    """An answer that is a PNG, with headers: name to description."""
    return {
        "description": description,
        "content": {"image/png": {"schema": _BINARY}},
        "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()},
    }
