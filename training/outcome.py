"""What one check found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

Verdict = Literal["passed", "failed", "not run"]
PASSED: Verdict = "passed"
FAILED: Verdict = "failed"
NOT_RUN: Verdict = "not run"


@dataclass(frozen=True)
class Finding:
    """One sentence of a check: right, wrong, or (None) not measured yet."""

    right: bool | None
    text: str


@dataclass(frozen=True)
class Outcome:
    """A verdict with its reasons in words and its figures by name."""

    verdict: Verdict
    why: str
    measured: dict[str, float] = field(default_factory=dict)


def outcome(findings: Iterable[Finding], **measured: float) -> Outcome:
    """Failed by one wrong finding, passed only if everything was measured and is right."""
    found = list(findings)
    wrong = [finding.text for finding in found if finding.right is False]
    missing = [finding.text for finding in found if finding.right is None]
    if wrong:
        return Outcome(FAILED, "; ".join(wrong) + ".", measured)
    if missing or not found:
        return Outcome(NOT_RUN, "; ".join(missing or ["no row to look at"]) + ".", measured)
    return Outcome(PASSED, "; ".join(finding.text for finding in found) + ".", measured)
