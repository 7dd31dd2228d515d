"""`python -m service.configuration`: every setting as Markdown; docs/configure.md is what it prints."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from service.settings import ENV_PREFIX, SHIPPED_MODELS, Settings

_INTRODUCTION = """# Configure

<!-- made by `python -m service.configuration` -->

Every setting is an environment variable; `python -m service --help` lists those that the command line takes too, which
goes before the environment. A value that is not allowed ends the start with a sentence, and so does a variable whose
name is nearly one of these.

| variable | default | allowed | what it does |
|---|---|---|---|
"""
_OTHERS = """
Variables that others read:

| variable | who reads it | what it does |
|---|---|---|
| `FORWARDED_ALLOW_IPS` | uvicorn | addresses of proxies whose `X-Forwarded-For` is believed; default: 127.0.0.1 |
| `OTEL_EXPORTER_OTLP_ENDPOINT` | OpenTelemetry | where traces go with `PURIFIER_OTEL=true` |
| `ORT_DISABLE_TELEMETRY` | ONNX Runtime | `0` turns on its telemetry, which is off here |
| `PUBLISH`, `PORT`, `GRAFANA_PORT` | `docker-compose.yml` | where nginx and Grafana listen on the host |
| `PURIFIER_DATA_DIR` | `python -m training` | the folder of the data sets; without it torchvision downloads them |
| `RAY_AUTH_TOKEN` | Ray | what its processes ask of each other: [scale.md](scale.md) |
"""
_SIGNS = {Ge: "≥", Gt: ">", Le: "≤", Lt: "<"}


def table() -> str:
    """The whole page."""
    rows = [
        f"| `{ENV_PREFIX}{name.upper()}` | {_default(field)} | {_allowed(field)} | {_about(field)} |"
        for name, field in Settings.model_fields.items()
    ]
    return _INTRODUCTION + "\n".join(rows) + "\n" + _OTHERS


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value in ((), ""):
        return "–"
    if isinstance(value, Path):
        return f"`{value.relative_to(SHIPPED_MODELS.parent)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _allowed(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(field.annotation))
    if field.annotation in (bool, bool | None):
        return "`true`, `false`"
    bounds = [
        f"{sign} {getattr(bound, kind.__name__.lower())}"
        for bound in field.metadata
        for kind, sign in _SIGNS.items()
        if isinstance(bound, kind)
    ]
    return ", ".join(bounds) or "–"


def _about(field: FieldInfo) -> str:
    return (field.description or "").replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(table())
