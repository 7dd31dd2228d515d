"""What an operator may choose: one class, read from the environment (PURIFIER_...), passed in, never global."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, IPvAnyAddress, StringConstraints, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.errors import shortened
from service.precision import PrecisionChoice
from service.runtime import DeviceChoice

ENV_PREFIX = "PURIFIER_"
SHIPPED_MODELS = Path(__file__).resolve().parent.parent / "models"
_MEBIBYTE = 1024 * 1024
_RATE_BEYOND_LOOPBACK = 600
# How alike a variable must be to a setting to be taken for a slip. Others may be someone else's: training has one, and
# Kubernetes names services in variables.
_ALIKE = 0.85
_HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$", max_length=253)]
_Origin = Annotated[str, StringConstraints(pattern=r"^(\*|https?://[a-z0-9.\[\]:-]+)$")]


def _split(given: object) -> object:
    return given.replace(",", " ").split() if isinstance(given, str) else given


def _split_at_spaces(given: object) -> object:
    return given.split() if isinstance(given, str) else given


def _in_digits(given: object) -> object:
    """Refuse text such as 1.0 and 1_0, which pydantic reads as 1 and 10."""
    if isinstance(given, str) and not re.fullmatch(r"-?[0-9]+", given.strip()):
        raise PydanticCustomError("whole_number", "allowed: a whole number")
    return given


Whole = Annotated[int, BeforeValidator(_in_digits)]


class Settings(BaseSettings):
    """Every limit has a floor and a ceiling, so that no setting can unbound the work or the memory."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", str_strip_whitespace=True
    )

    host: IPvAnyAddress | _HostName = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for all")
    port: Whole = Field(8000, ge=0, le=65535, description="port to listen on; 0 lets the system choose")
    device: DeviceChoice = Field("auto", description="'cuda' fails where there is none, 'auto' says what it got")
    precision: PrecisionChoice = Field(
        "auto", description="of the classifiers; 'auto' is fp16 on GPUs, int8 on CPUs that are fast at it, else fp32"
    )
    models_dir: Path = Field(SHIPPED_MODELS, description="the folder that holds manifest.json")
    threads: Whole | None = Field(
        None,
        ge=1,
        le=256,
        description="threads inside one operator; default: the CPUs that the process may use",
    )
    max_body_bytes: Whole = Field(
        36 * _MEBIBYTE,
        ge=1024,
        le=64 * _MEBIBYTE,
        description="largest request body; the default holds any picture of 2048 x 2048, even 16-bit RGBA noise",
    )
    max_bodies_bytes: Whole = Field(
        256 * _MEBIBYTE,
        ge=1024,
        le=64 * 1024 * _MEBIBYTE,
        description="bodies of all requests until they are answered, less 64 KiB each; beyond it a large one gets 503",
    )
    body_timeout_s: float = Field(
        30, gt=0, le=600, allow_inf_nan=False, description="a body that is not here by then is refused"
    )
    max_batch: Whole = Field(
        32,
        ge=1,
        le=256,
        description="at most so many images are computed together; a request of /v2 may hold more, alone",
    )
    max_waiting: Whole = Field(64, ge=1, le=10_000, description="requests that may wait to be computed; more get 503")
    request_timeout_s: float = Field(
        10,
        gt=0,
        le=600,
        allow_inf_nan=False,
        description="a classification, purification or inference of /v2 that takes longer gets 504",
    )
    max_waiting_slow: Whole = Field(
        16, ge=1, le=1000, description="how many may wait for a defense that takes seconds; more are answered 503"
    )
    slow_timeout_s: float = Field(
        60,
        gt=0,
        le=3600,
        allow_inf_nan=False,
        description="a request for such a defense, or for its graphs in /v2, that takes longer gets 504",
    )
    workers: Whole = Field(
        2, ge=1, le=64, description="large pictures that are decoded at once; max_waiting more may wait"
    )
    max_waiting_attacks: Whole = Field(
        64, ge=0, le=1000, description="attacks and benchmarks run one at a time; how many may wait; more get 503"
    )
    attack_timeout_s: float = Field(
        120, gt=0, le=3600, allow_inf_nan=False, description="an attack that takes longer is stopped"
    )
    drain_s: float = Field(
        0,
        ge=0,
        le=300,
        allow_inf_nan=False,
        description="so long after SIGTERM /readyz says 503 while requests are still answered",
    )
    shutdown_timeout_s: Whole = Field(30, ge=1, le=600, description="requests in flight get so long to finish")
    keep_alive_s: Whole = Field(30, ge=1, le=600, description="an idle connection is kept so long")
    header_timeout_s: float = Field(
        10, gt=0, le=600, allow_inf_nan=False, description="a connection without a complete head by then is closed"
    )
    api_keys: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_at_spaces)] = Field(
        (), description="lines of `python -m service.keys`, with spaces between; with any, each request needs a key"
    )
    api_keys_file: Path | None = Field(None, description="a file with a line for each key, and # comments")
    allow_anonymous: bool = Field(False, description="serve everybody who reaches `host`, without keys")
    attacks: bool | None = Field(None, description="POST /attack; default: where `host` is a loopback address")
    benchmarks: bool | None = Field(
        None, description="POST /latency/benchmark; default: where `host` is a loopback address"
    )
    rate_limit: Whole | None = Field(
        None,
        ge=0,
        le=1_000_000,
        description="requests a minute of a key, or of an address without keys; 0 for no limit; default: none where "
        "`host` is a loopback address, else 600",
    )
    cors_origins: Annotated[tuple[_Origin, ...], NoDecode, BeforeValidator(_split)] = Field(
        (), description="web pages that may ask from a browser: https://a.example, or * for all; default: this one"
    )
    access_log: bool = Field(False, description="log a line per request, without its query and its body")
    log_level: Literal["critical", "error", "warning", "info", "debug"] = Field(
        "info", description="the least severe lines that are logged"
    )
    log_format: Literal["text", "json"] = Field("text", description="lines for people, or a JSON object per line")
    otel: bool = Field(
        False, description="send traces to OTEL_EXPORTER_OTLP_ENDPOINT; needs the extra `otel` to be installed"
    )

    @model_validator(mode="before")
    @classmethod
    def _no_variable_is_misspelt(cls, given: Any) -> Any:
        for variable in os.environ:
            prefix, name = variable[: len(ENV_PREFIX)].upper(), variable[len(ENV_PREFIX) :].lower()
            if prefix == ENV_PREFIX and name not in cls.model_fields:
                alike = get_close_matches(name, cls.model_fields, cutoff=_ALIKE)
                if alike:
                    allowed = ", ".join(f"{ENV_PREFIX}{setting.upper()}" for setting in alike)
                    raise ValueError(f"{shortened(variable)} is no setting; allowed: {allowed}")
        return given

    @property
    def on_loopback(self) -> bool:
        """Whether nobody but this machine reaches the service."""
        try:
            return ip_address(str(self.host)).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def requests_per_minute(self) -> int:
        """The rate limit, 0 for none."""
        if self.rate_limit is None:
            return 0 if self.on_loopback else _RATE_BEYOND_LOOPBACK
        return self.rate_limit

    @property
    def switched_off(self) -> dict[str, str]:
        """Paths that are not served, with the setting that serves them."""
        costly = {"/attack": ("attacks", self.attacks), "/latency/benchmark": ("benchmarks", self.benchmarks)}
        return {path: name for path, (name, on) in costly.items() if not (self.on_loopback if on is None else on)}


def why_refused(error: ValidationError) -> str:
    """What was found in each setting that was refused, and what is allowed."""
    return "; ".join(map(_sentence, error.errors()))


def _sentence(item: ErrorDetails) -> str:
    message = item["msg"]
    if not item["loc"]:
        return message.removeprefix("Value error, ")
    if item["type"] == "bool_parsing":
        message = "allowed: true or false"
    return f"{item['loc'][0]} is {shortened(item['input'])}; {message[:1].lower()}{message[1:]}"
