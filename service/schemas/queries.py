"""What a query may say. Limits live in `Field`."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from service.attacks import ATTACKS, Method, Norm
from service.attempt import MAX_EOT, Target
from service.benchmark import STAGE_S
from service.catalog import DEFAULT_DEFENSE
from service.errors import shortened
from service.schemas.values import Dataset, DefenseName, Label, SampleIndex, Seed, WholeNumber

MAX_BENCHMARK_IMAGES = 6400


class QueryModel(BaseModel):
    """Base of all queries: a parameter that the route does not know is an error, not a silent default."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _only_known(cls, query: Any) -> Any:
        for name in query:
            if name not in cls.model_fields and cls.model_config.get("extra") != "allow":
                raise PydanticCustomError(
                    "unknown_parameter",
                    "unknown query parameter {found}; allowed: {allowed}",
                    {"found": shortened(name), "allowed": ", ".join(cls.model_fields)},
                )
        return query


class SamplesQuery(QueryModel):
    """Query of GET /samples."""

    dataset: Dataset | None = Field(None, description="list this data set alone; default: all of them")


class ResultsQuery(QueryModel):
    """Query of GET /results."""

    dataset: Dataset | None = Field(None, description="rows of this data set alone; default: all of them")


class DatasetQuery(QueryModel):
    """Base of the queries that name one data set."""

    dataset: Dataset = "mnist"


class DefendedQuery(DatasetQuery):
    """Query of /classify and /purify."""

    defense: DefenseName = DEFAULT_DEFENSE
    seed: Seed | None = Field(
        None,
        description="seed of the Gaussian noise on the purifier's latent, 0 to 4294967295; without it the "
        "noise is zero. Either way the same request gives the same answer",
    )


class AttackQuery(DatasetQuery):
    """Query of /attack, less the hyper-parameters, which differ from method to method."""

    model_config = ConfigDict(extra="allow")

    sample: SampleIndex | None = Field(
        None, description="attack this shipped test image (GET /samples) in place of a body"
    )
    method: Method = Field("pgd", description="the attack; GET /attacks lists them with their parameters")
    norm: Norm | None = Field(
        None,
        description="how the perturbation is measured: its largest pixel (linf), its length (l2), how many pixels it "
        "changes (l0); default: the method's first",
    )
    target: Target = Field(
        "classifier",
        description="what is attacked: `classifier` (the plain one: the attacker does not know of the defense: "
        "knowledge oblivious) or `pipeline` (the attack looks through the purifier, or at the classifier "
        "in the plain one's place: knowledge adaptive, or black_box where the method takes no gradient)",
    )
    defense: DefenseName = DEFAULT_DEFENSE
    label: Label | None = Field(
        None,
        description="class 0 to 9 to lead away from; default: the classifier's own prediction for the clean "
        "image, also where a sample's true label is known",
    )
    target_label: Label | None = Field(
        None, description="class 0 to 9 to lead to, other than label; makes the attack targeted"
    )
    eot: Annotated[int, WholeNumber(0, MAX_EOT)] = Field(
        0,
        description=f"target=pipeline: draws of the purifier's noise that each look averages over, 1 to {MAX_EOT}; "
        "with 0 the noise is zero, as in a classification without a seed",
    )
    seed: Seed = Field(0, description="seed of everything that is drawn, 0 to 4294967295")

    @model_validator(mode="after")
    def _only_what_the_method_takes(self) -> Self:
        attack = ATTACKS[self.method]
        norm = self.norm if self.norm in attack.norms else None  # else the plan refuses it
        parameters = {parameter.name: parameter.allowed for parameter in attack.parameters(norm)}
        for name in self.given:
            if name not in parameters:
                allowed = [*(f"{own} ({limits})" for own, limits in parameters.items()), *type(self).model_fields]
                raise PydanticCustomError(
                    "unknown_parameter",
                    "query parameter {found} is not used by method={method}; allowed with it: {allowed}",
                    {"found": shortened(name), "method": self.method, "allowed": ", ".join(allowed)},
                )
        return self

    @property
    def given(self) -> dict[str, Any]:
        """The hyper-parameters of the method, as they were spelt."""
        return dict(self.model_extra or {})


class BenchmarkQuery(DatasetQuery):
    """Query of POST /latency/benchmark."""

    defense: DefenseName = Field(DEFAULT_DEFENSE, description="one of GET /models, or `all` of them")
    batch: Annotated[int, WholeNumber(1, 64)] = Field(1, description="images in a call, 1 to 64")
    repeats: Annotated[int, WholeNumber(1, 200)] = Field(
        50,
        description=f"timed calls of each stage, 1 to 200; batch x repeats is at most {MAX_BENCHMARK_IMAGES}. After "
        f"{STAGE_S:g} s of a stage no further call of it begins",
    )


class SampleQuery(QueryModel):
    """Query of GET /samples/{dataset}/{n}."""

    v: str | None = Field(
        None,
        max_length=64,
        description="the version in the listing's URLs: with it the answer may be cached for ever",
    )
