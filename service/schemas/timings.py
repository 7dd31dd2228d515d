"""Latencies, live and benchmarked."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from service.records import Record
from service.schemas.values import Answer, Milliseconds, Probability


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
