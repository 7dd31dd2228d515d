"""The wire contract: what a query may say, and what an answer looks like. Limits live in `Field`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from service.attacks import DEFAULT_STEPS, Norm
from service.attempt import DEFAULT_EPS, MAX_EPS, MAX_TOTAL_STEPS, Goal, Knowledge, Method, Target, Walk
from service.catalog import DEFAULT_DEFENSE
from service.errors import shortened
from service.records import Record

MAX_BENCHMARK_IMAGES = 6400
Dataset = Annotated[str, Field(description="data set: `mnist` or `fashion-mnist`; GET /models lists them")]
DefenseName = Annotated[
    str,
    Field(description="what stands before the classifier: `autoencoder`, or `none`; GET /models lists them"),
]
Label = Annotated[int, Field(ge=0, le=9)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Probabilities = Annotated[tuple[Probability, ...], Field(min_length=10, max_length=10, description="class 0 to 9")]
PngBase64 = Annotated[str, Field(description="28 x 28, 8-bit grey PNG in base64")]
# To a tenth of a microsecond: more digits are noise.
Milliseconds = Annotated[float, Field(ge=0), AfterValidator(lambda ms: round(ms, 4))]
Models = Annotated[
    dict[str, str],
    Field(
        description="the graphs that were used: name to SHA-256. A graph names its weight files with their SHA-256, "
        "so that its own covers the weights"
    ),
]


class QueryModel(BaseModel):
    """Base of all queries: a parameter that the route does not know is an error, not a silent default."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _only_known(cls, query: Any) -> Any:
        for name in query:
            if name not in cls.model_fields:
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
    """Query of /attack."""

    sample: int | None = Field(
        None, ge=0, description="attack this shipped test image (GET /samples) in place of a body"
    )
    method: Method = Field("pgd", description="`fgsm` takes one step of length eps, `pgd` walks in several")
    norm: Norm = Field("linf", description="how eps measures the perturbation: its largest pixel, or its length")
    eps: float | None = Field(
        None,
        ge=0,
        le=MAX_EPS["l2"],
        allow_inf_nan=False,
        description=f"budget in pixels of [0, 1]: 0 to {MAX_EPS['linf']:g} with norm=linf (default "
        f"{DEFAULT_EPS['linf']}), 0 to {MAX_EPS['l2']:g} with norm=l2 (default {DEFAULT_EPS['l2']})",
    )
    target: Target = Field(
        "classifier",
        description="what is attacked: `classifier` (the attacker does not know of the purifier: knowledge "
        "oblivious) or `pipeline` (its gradient runs through the purifier too: knowledge adaptive)",
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
    steps: int | None = Field(
        None,
        ge=1,
        le=200,
        description=f"pgd (fgsm: only 1): steps of a walk, 1 to 200 (default {DEFAULT_STEPS}); steps x restarts is at "
        f"most {MAX_TOTAL_STEPS}",
    )
    step_size: float | None = Field(
        None,
        gt=0,
        le=MAX_EPS["l2"],
        allow_inf_nan=False,
        description="pgd (fgsm: only eps): length of a step in `norm`, above 0 and at most 1 (norm=l2: 28); default "
        "2.5 eps / steps",
    )
    restarts: int | None = Field(
        None, ge=1, le=10, description="pgd (fgsm: only 1): walks, 1 to 10 (default 1); the best one counts"
    )
    random_start: bool | None = Field(
        None, description="pgd (fgsm: only false): start from a random point within eps (default true)"
    )
    seed: Seed = Field(0, description="seed of the random starts, 0 to 4294967295")


class BenchmarkQuery(DatasetQuery):
    """Query of POST /latency/benchmark."""

    defense: DefenseName = DEFAULT_DEFENSE
    batch: int = Field(1, ge=1, le=64, description="images in a call, 1 to 64")
    repeats: int = Field(
        50,
        ge=1,
        le=200,
        description=f"timed calls, 1 to 200; batch x repeats is at most {MAX_BENCHMARK_IMAGES}",
    )


class SampleQuery(QueryModel):
    """Query of GET /samples/{dataset}/{n}."""

    v: str | None = Field(
        None,
        max_length=64,
        description="the version in the listing's URLs: with it the answer may be cached for ever",
    )


class Answer(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(frozen=True)


class Problem(Answer):
    """An error as RFC 9457 has it; `error` repeats `detail`."""

    type: str = Field(description="names the kind of problem")
    title: str
    status: int
    detail: str = Field(description="what was found and what is allowed")
    instance: str = Field(description="the path of the request")
    error: str


class Verdict(Answer):
    """What a classifier says."""

    label: Label
    class_name: str
    confidence: Probability


class EvidenceAnswer(Answer):
    """What purification changed."""

    residual_l2: float = Field(description="length of the difference of the images, pixels in [0, 1]")
    residual_linf: float = Field(description="largest difference of a pixel")
    disagreement: bool = Field(description="whether the label changes through the purifier")


class ClassifyTimings(Answer):
    """Milliseconds. `total` runs from the request's arrival, thus includes receiving and queueing."""

    decode: Milliseconds
    purify: Milliseconds
    classify: Milliseconds
    total: Milliseconds


class AttackTimings(ClassifyTimings):
    """Milliseconds. `total` runs from the request's arrival, thus includes receiving and queueing."""

    attack: Milliseconds


class ClassifyAnswer(Verdict):
    """The defended answer, with the undefended one beside it."""

    dataset: str
    defense: str
    probabilities: Probabilities
    undefended: Verdict
    evidence: EvidenceAnswer
    timings_ms: ClassifyTimings
    models: Models


class PurifyAnswer(Answer):
    """The purified image, with the classifier's answer before and after."""

    dataset: str
    defense: str
    image_png: PngBase64
    before: Verdict
    after: Verdict
    evidence: EvidenceAnswer
    timings_ms: ClassifyTimings
    models: Models


class PictureAnswer(Verdict):
    """An image, and what the classifier alone says of it."""

    image_png: PngBase64
    probabilities: Probabilities


class Perturbation(Answer):
    """Sizes of the perturbation in pixels of [0, 1], before rounding."""

    linf: float
    l2: float


class RoundedOutcome(Answer):
    """The attack's result with the adversarial image rounded to 8 bits, as its PNG carries it."""

    adversarial_label: Label
    purified_label: Label
    success: bool
    recovered: bool


class AttackParameters(Answer):
    """Every parameter as it was used."""

    dataset: str
    defense: str
    target: Target
    method: Method
    norm: Norm
    eps: float
    steps: int
    step_size: float
    restarts: int
    random_start: bool
    seed: int
    label: Label
    target_label: Label | None

    @classmethod
    def of(cls, goal: Goal, walk: Walk, label: int) -> AttackParameters:
        """The parameters of an attack on `label`."""
        return cls(**{**vars(goal), **vars(walk), "label": label})


class AttackAnswer(Answer):
    """What the attack did to the answer, and what the purifier made of it."""

    success: bool = Field(
        description="the attacked target answers another class than `label`, or `target_label` where given"
    )
    recovered: bool = Field(description="the defended answer to the adversarial image is `label`")
    knowledge: Knowledge
    true_label: Label | None = Field(description="of a shipped sample; null for an image of your own")
    clean: PictureAnswer
    adversarial: PictureAnswer
    purified: PictureAnswer
    defended_clean: Verdict
    perturbation: Perturbation
    effective_reach: float = Field(
        description="how far the gradient could lead, in `norm`: eps, or steps x step_size where that is less; the "
        "displacement of a random start has no direction and does not count"
    )
    after_rounding: RoundedOutcome
    parameters: AttackParameters
    timings_ms: AttackTimings
    models: Models


class SampleAnswer(Answer):
    """A shipped test image."""

    index: int
    label: Label
    class_name: str
    url: str


class SampleSetAnswer(Answer):
    """The shipped test images of a data set."""

    count: int
    source: str
    licence: str
    samples: tuple[SampleAnswer, ...]


class SamplesAnswer(Answer):
    """The shipped test images, by data set."""

    datasets: dict[str, SampleSetAnswer]


class WeightsAnswer(Answer):
    """A file of weights; several graphs may share one."""

    file: str
    sha256: str


class GraphAnswer(Answer):
    """One graph of the manifest, and whether and where it is loaded."""

    name: str
    kind: str
    defense: str
    file: str
    sha256: str = Field(description="of the graph, which names its weight files with theirs")
    weights: tuple[WeightsAnswer, ...]
    parameters: int
    precision: str
    stored_precision: str
    opset: int
    clean_accuracy: Probability | None
    accuracy_images: int | None = Field(description="test images that the accuracy was measured on")
    training: dict[str, Any]
    seed: int
    commit: str
    loaded: bool
    provider: str | None = Field(description="the execution provider that it got; null while not loaded")


class DatasetAnswer(Answer):
    """What is there for one data set."""

    class_names: tuple[str, ...]
    defenses: tuple[str, ...]
    graphs: tuple[GraphAnswer, ...]


class RuntimeAnswer(Answer):
    """The engine: what was asked for and what it got."""

    device_asked: str
    providers: tuple[str, ...] = Field(description="execution providers in use")
    onnxruntime: str
    threads: int


class ModelsAnswer(Answer):
    """The catalogue."""

    runtime: RuntimeAnswer
    datasets: dict[str, DatasetAnswer]


class ResultsAnswer(Answer):
    """Recorded results, one row a measurement."""

    rows: tuple[Record, ...]


class HealthAnswer(Answer):
    """The process lives."""

    status: Literal["alive"] = "alive"


class ReadyAnswer(RuntimeAnswer):
    """The models are loaded, verified and warm."""

    status: Literal["ready"] = "ready"
    datasets: tuple[str, ...]


class PercentilesAnswer(Answer):
    """Durations in milliseconds."""

    count: int
    p50_ms: Milliseconds
    p90_ms: Milliseconds
    p95_ms: Milliseconds
    p99_ms: Milliseconds


class StageAnswer(Answer):
    """One stage of one endpoint."""

    endpoint: str
    stage: str
    since_start: PercentilesAnswer | None
    last_minute: PercentilesAnswer | None


class LatencyAnswer(Answer):
    """Live percentiles of the answers below 400."""

    relative_error: float = Field(description="how far a percentile may be off, as a share of its value")
    window_s: float = Field(description="length of `last_minute`, in slices of five seconds")
    stages: tuple[StageAnswer, ...]


class BenchmarkRow(Answer):
    """One stage, timed alone."""

    stage: Literal["purify", "classify", "pipeline"]
    defense: str
    batch: int
    precision: str
    runtime: str
    device: str = Field(description="the execution provider that it ran on")
    p50_ms: Milliseconds = Field(description="of a call, thus of a whole batch")
    p95_ms: Milliseconds
    p99_ms: Milliseconds
    per_image_ms: Milliseconds = Field(description="p50_ms / batch")
    n: int = Field(description="timed calls")


class ReferenceRow(Answer):
    """A row of the paper's Table 3: MNIST under FGSM with eps 0.6, oblivious."""

    defense: str
    seconds_per_image: float
    robust_accuracy: Probability


class BenchmarkAnswer(Answer):
    """Table 3, measured here."""

    dataset: str
    threads: int
    rows: tuple[BenchmarkRow, ...]
    paper: tuple[ReferenceRow, ...]
    paper_note: str
