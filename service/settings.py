"""What an operator may choose: one class, read from the environment (PURIFIER_...), passed in, never global."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, IPvAnyAddress, StringConstraints, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.errors import shortened
from service.inference import DeviceChoice
from service.precision import PrecisionChoice

ENV_PREFIX = "PURIFIER_"
SHIPPED_MODELS = Path(__file__).resolve().parent.parent / "models"
_MEBIBYTE = 1024 * 1024
_RATE_BEYOND_LOOPBACK = 600
_HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$", max_length=253)]
_Origin = Annotated[str, StringConstraints(pattern=r"^(\*|https?://[a-z0-9.\[\]:-]+)$")]


def _split(given: object) -> object:
    return given.replace(",", " ").split() if isinstance(given, str) else given


def _split_at_spaces(given: object) -> object:
    return given.split() if isinstance(given, str) else given


class Settings(BaseSettings):
    """Every limit has a floor and a ceiling, so that no setting can unbound the work or the memory."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", str_strip_whitespace=True
    )

    host: IPvAnyAddress | _HostName = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for all")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 lets the system choose")
    device: DeviceChoice = Field("auto", description="'cuda' fails where there is none, 'auto' says what it got")
    precision: PrecisionChoice = Field(
        "auto", description="of the classifiers; 'auto' is int8 on CPUs that are fast at it, else fp32"
    )
    models_dir: Path = Field(SHIPPED_MODELS, description="the folder that holds manifest.json")
    threads: int | None = Field(
        None,
        ge=1,
        le=256,
        description="threads inside one operator; default: the CPUs that the process may use",
    )
    max_body_bytes: int = Field(
        36 * _MEBIBYTE,
        ge=1024,
        le=64 * _MEBIBYTE,
        description="largest request body; the default holds any picture of 2048 x 2048, even 16-bit RGBA noise",
    )
    max_bodies_bytes: int = Field(
        256 * _MEBIBYTE,
        ge=1024,
        le=64 * 1024 * _MEBIBYTE,
        description="bodies of all requests until they are answered, less 64 KiB each; beyond it a large one gets 503",
    )
    body_timeout_s: float = Field(
        30, gt=0, le=600, allow_inf_nan=False, description="a body that is not here by then is refused"
    )
    max_batch: int = Field(
        32,
        ge=1,
        le=256,
        description="at most so many images are computed together; a request of /v2 may hold more, alone",
    )
    max_waiting: int = Field(64, ge=1, le=10_000, description="and how many may wait; more are answered 503")
    request_timeout_s: float = Field(
        10,
        gt=0,
        le=600,
        allow_inf_nan=False,
        description="a classification, purification or inference of /v2 that takes longer gets 504",
    )
    max_waiting_slow: int = Field(
        16, ge=1, le=1000, description="how many may wait for a defense that takes seconds; more are answered 503"
    )
    slow_timeout_s: float = Field(
        60,
        gt=0,
        le=3600,
        allow_inf_nan=False,
        description="what asks for such a defense, or its graphs in /v2, and takes longer gets 504",
    )
    workers: int = Field(
        2, ge=1, le=64, description="pictures that are decoded at once, except small ones; max_waiting may wait"
    )
    max_waiting_attacks: int = Field(
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
        description="after SIGTERM: /readyz says 503 so long before the end",
    )
    shutdown_timeout_s: int = Field(30, ge=1, le=600, description="requests in flight get so long to finish")
    keep_alive_s: int = Field(30, ge=1, le=600, description="an idle connection is kept so long")
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
    rate_limit: int | None = Field(
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
    return "; ".join(_sentence(item["loc"], item["input"], item["msg"]) for item in error.errors())


def _sentence(location: tuple[int | str, ...], found: object, message: str) -> str:
    return f"{location[0] if location else 'setting'} is {shortened(found)}; {message[:1].lower()}{message[1:]}"
