"""The wire contract: what a query may say, and what an answer looks like. Limits live in `Field`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from service.attacks import ATTACKS, Access, Aim, Attack, Method, Norm, Parameter, Plan
from service.attempt import FRESH_DRAWS, MAX_EOT, Goal, Knowledge, Target, knowledge_of
from service.benchmark import STAGE_S
from service.catalog import DEFAULT_DEFENSE
from service.errors import shortened
from service.records import Record

MAX_BENCHMARK_IMAGES = 6400
Dataset = Annotated[str, Field(description="data set: `mnist` or `fashion-mnist`; GET /models lists them")]
DefenseName = Annotated[
    str,
    Field(
        description="`autoencoder` or another purifier before the classifier, another classifier in its place, or "
        "`none`; GET /models lists them"
    ),
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

    sample: int | None = Field(
        None, ge=0, description="attack this shipped test image (GET /samples) in place of a body"
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
    eot: int = Field(
        0,
        ge=0,
        le=MAX_EOT,
        description=f"target=pipeline: draws of the purifier's noise that each look averages over, 1 to {MAX_EOT}; "
        "with 0 the noise is zero, as in a classification without a seed",
    )
    seed: Seed = Field(0, description="seed of everything that is drawn, 0 to 4294967295")

    @model_validator(mode="after")
    def _only_what_the_method_takes(self) -> Self:
        parameters = {parameter.name: parameter.allowed for parameter in ATTACKS[self.method].parameters()}
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
    batch: int = Field(1, ge=1, le=64, description="images in a call, 1 to 64")
    repeats: int = Field(
        50,
        ge=1,
        le=200,
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


class Answer(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(frozen=True)


class Problem(Answer):
    """An error as RFC 9457 has it; `error` repeats `detail`, `request_id` is the answer's X-Request-ID."""

    type: str = Field(description="names the kind of problem")
    title: str
    status: int
    detail: str = Field(description="what was found and what is allowed")
    instance: str = Field(description="the path of the request")
    error: str
    request_id: str = Field(description="the request's own X-Request-ID, or one made for it; logs name it")


class Verdict(Answer):
    """What a classifier says."""

    label: Label
    class_name: str
    confidence: Probability


class EvidenceAnswer(Answer):
    """What the defense changed."""

    residual_l2: float = Field(description="length of the difference of the images, pixels in [0, 1]")
    residual_linf: float = Field(description="largest difference of a pixel")
    disagreement: bool = Field(description="whether the label changes through the defense")


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
    """An image, and what the classifier that it reaches says of it: of `purified` the defense's, else the plain one."""

    image_png: PngBase64
    probabilities: Probabilities


class Perturbation(Answer):
    """Sizes of the perturbation before rounding: in pixels of [0, 1], and in L0 the pixels that were changed."""

    linf: float
    l2: float
    l0: int


class RoundedOutcome(Answer):
    """The attack's result with the adversarial image rounded to 8 bits, as its PNG carries it."""

    adversarial_label: Label
    purified_label: Label
    success: bool
    recovered: bool


class AttackParameters(Answer):
    """Every parameter as it was used; beside these the method's own, by the names in GET /attacks."""

    model_config = ConfigDict(extra="allow")

    dataset: str
    defense: str
    target: Target
    method: Method
    norm: Norm
    eot: int
    seed: int
    label: Label
    target_label: Label | None

    @classmethod
    def of(cls, goal: Goal, plan: Plan, label: int) -> AttackParameters:
        """The parameters of an attack on `label`."""
        named = {"method": plan.attack.name, "norm": plan.norm, "label": label}
        return cls(**{**vars(goal), **named, **plan.settings})


class AttackCost(Answer):
    """What the attack spent, and what it got for it."""

    queries: int = Field(description="images that the target was asked to classify")
    gradients: int = Field(description="gradients that it gave, each with its logits")
    loss: float | None = Field(
        description="of a method with aim budget: the cross-entropy that it reached, of the target's answer to "
        "`label`, or to `target_label` where given"
    )
    distance: float | None = Field(
        description="of a method with aim distance: how far the image that it found is, in `norm`; null where it "
        "found none"
    )


class AttackAnswer(Answer):
    """What the attack did to the answer, and what the defense made of it."""

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
    success_rate: Probability | None = Field(
        description=f"with eot: the share of {FRESH_DRAWS} fresh draws of the noise on which the attack succeeds"
    )
    effective_reach: float | None = Field(
        description="of a method with eps, how far it could lead, in `norm`: eps, or steps x step_size where that is "
        "less; the displacement of a random start has no direction and does not count"
    )
    cost: AttackCost
    after_rounding: RoundedOutcome
    parameters: AttackParameters
    timings_ms: AttackTimings
    models: Models


class ParameterAnswer(Answer):
    """A hyper-parameter of a method; a default of null depends on the others, as the description says."""

    name: str
    type: str
    minimum: float | None
    above_minimum: bool = Field(description="whether it must be above `minimum`, not at it")
    maximum: float | None
    default: bool | int | float | None
    description: str

    @classmethod
    def of(cls, parameter: Parameter) -> ParameterAnswer:
        """What the registry says of it."""
        return cls(**{name: getattr(parameter, name) for name in cls.model_fields})


class MethodAnswer(Answer):
    """An attack, and what it takes."""

    method: Method
    title: str
    paper: str = Field(description="where it was published")
    aim: Aim = Field(description="`budget`: the worst image within one; `distance`: the nearest image that fools")
    access: Access = Field(description="what it must see of the target: gradients, its scores (logits), or decisions")
    knowledge: dict[Target, Knowledge] = Field(description="what the attacker then knows, by target")
    targeted: bool = Field(description="whether target_label is allowed")
    norms: tuple[Norm, ...] = Field(description="the default first")
    parameters: dict[Norm, tuple[ParameterAnswer, ...]] = Field(description="by norm")
    checked_against: str = Field(description="what the tests compare it with")

    @classmethod
    def of(cls, attack: Attack) -> MethodAnswer:
        """What the registry says of it."""
        return cls(
            method=attack.name,
            title=attack.title,
            paper=f"https://arxiv.org/abs/{attack.arxiv}",
            aim=attack.aim,
            access=attack.access,
            knowledge={target: knowledge_of(target, attack) for target in get_args(Target)},
            targeted=attack.can_be_targeted,
            norms=attack.norms,
            parameters={norm: tuple(map(ParameterAnswer.of, attack.parameters(norm))) for norm in attack.norms},
            checked_against=attack.checked_against,
        )


class MethodsAnswer(Answer):
    """Every attack that POST /attack knows."""

    methods: tuple[MethodAnswer, ...]


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
    precision_asked: str
    precision: str = Field(description="of the classifiers that answer; attacks are made and judged in fp32")


class ModelsAnswer(Answer):
    """The catalogue."""

    runtime: RuntimeAnswer
    datasets: dict[str, DatasetAnswer]
    switched_off: tuple[str, ...] = Field(description="paths that the operator has not switched on; they answer 403")


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
    n: int = Field(description="timed calls: `repeats`, or fewer of what is slow")


class RecordedShare(Answer):
    """A recorded accuracy with its 95 % interval, on `n` test images."""

    accuracy: Probability
    ci_low: Probability
    ci_high: Probability
    n: int

    @classmethod
    def of(cls, record: Record | None) -> RecordedShare | None:
        """What a row says; None where there is none."""
        if record is None:
            return None
        return cls(accuracy=record.robust_accuracy, ci_low=record.ci_low, ci_high=record.ci_high, n=record.n)


class AccuracyRow(Answer):
    """What a defense holds, in fp32 and against oblivious attackers, as it was recorded; null where it was not."""

    defense: str
    clean: RecordedShare | None
    fgsm: RecordedShare | None = Field(description="FGSM with eps 0.6")
    pgd: RecordedShare | None = Field(description="PGD with eps 0.15")


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
    accuracies: tuple[AccuracyRow, ...] = Field(description="of the defenses that were timed")
    paper: tuple[ReferenceRow, ...]
    paper_note: str
