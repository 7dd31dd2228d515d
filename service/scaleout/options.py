"""How many replicas there are, and how much of a machine each gets; and the command line that says so."""

from __future__ import annotations

import argparse
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.settings import ENV_PREFIX, Settings, Whole

_DEFAULT_REPLICAS = 2


class Scale(BaseModel):
    """Replicas and the processors of each; fractions are allowed, so that replicas may share one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    replicas: Whole = Field(_DEFAULT_REPLICAS, ge=1, le=1000, description="copies of the service; at least so many")
    max_replicas: Whole | None = Field(
        None, ge=1, le=1000, description="more are started under load, up to these; default: the number is fixed"
    )
    cpus: float = Field(1, gt=0, le=256, allow_inf_nan=False, description="CPUs of each, hence its threads")
    gpus: float = Field(0, ge=0, le=1, allow_inf_nan=False, description="GPUs of each: 0.25 lets four share one")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError(f"max_replicas is {self.max_replicas}; allowed: at least the {self.replicas} replicas")
        return self

    @property
    def most(self) -> int:
        """How many replicas there may be."""
        return self.max_replicas or self.replicas


def parsed(arguments: list[str] | None) -> tuple[Scale, Settings]:
    """What the command line says, over the environment (PURIFIER_...).

    Raises:
        pydantic.ValidationError: a value is not allowed.
    """
    parser = argparse.ArgumentParser(
        prog="python -m service.scaleout",
        description="Serve the models from several replicas on this machine, under Ray Serve.",
        epilog=f"Everything else is set in the environment, as for python -m service: {ENV_PREFIX}PORT=8080.",
    )
    for name, field in Scale.model_fields.items():
        default = "" if field.default is None else f" (default {field.default})"
        parser.add_argument(f"--{name.replace('_', '-')}", help=f"{field.description}{default}")
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", help="port to listen on (default 8000)")
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    scale = Scale(**{name: given.pop(name) for name in Scale.model_fields if name in given})
    return scale, Settings(**given)
