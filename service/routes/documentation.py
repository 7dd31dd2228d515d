"""What FastAPI cannot see by itself, for /docs: bodies that are read by hand, and errors."""

from __future__ import annotations

from typing import Any

from service import bodies
from service.attacks import ATTACKS, Parameter
from service.schemas import Problem

Responses = dict[int | str, dict[str, Any]]
_BINARY: dict[str, Any] = {"type": "string", "format": "binary"}
_PROBLEM = {"application/problem+json": {"schema": Problem.model_json_schema()}}

PROBLEMS: Responses = {
    "4XX": {"description": "What was found, and what is allowed", "content": _PROBLEM},
    "5XX": {
        "description": "Busy, not ready (see Retry-After) or failed",
        "model": Problem,
        "content": _PROBLEM,
    },
}


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
