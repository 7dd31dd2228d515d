"""What the answers about a picture look like, and problems."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from service.attacks import Method, Norm, Plan
from service.attempt import FRESH_DRAWS, Goal, Knowledge, Target
from service.schemas.values import Answer, Label, Milliseconds, Models, PngBase64, Probabilities, Probability


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
    """The attack's result with the adversarial image rounded to 8 bits, as its PNG carries it.

    Rounding moves a pixel by up to half a grey level (1/510), also out of the ball of eps.
    """

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
