"""What int8 and fp16 cost: their rows beside those of fp32, as a check and a table. Knows no models and no files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from service.catalog import DEFAULT_DEFENSE, NO_DEFENSE
from service.precision import REDUCED
from training.outcome import Finding, Outcome, outcome
from training.results import Row, select
from training.row_checks import name
from training.tables import NOT_MEASURED, TITLES, share, table

MARGIN = 0.003
_WHOLE_TEST_SET = 10_000


def close(rows: Sequence[Row]) -> Outcome:
    """Check 14, on the rows of one data set: int8 and fp16 are within .3 points of fp32, clean and attacked."""
    findings = []
    whole = [row for row in rows if row.n >= _WHOLE_TEST_SET]
    asked = {_question(exact) for precision in REDUCED for exact, _ in _pairs(whole, precision)}
    for precision in REDUCED:
        pairs = _pairs(whole, precision)
        findings += [
            Finding(
                round(abs(exact.robust_accuracy - other.robust_accuracy), 4) <= MARGIN,
                f"{name(exact)}: fp32 {exact.robust_accuracy:.4f}, {precision} {other.robust_accuracy:.4f}",
            )
            for exact, other in pairs
        ]
        if len(pairs) < max(len(asked), 1):
            missing = f"{precision} lacks attacks on {_WHOLE_TEST_SET:,} images: run `python -m training evaluate "
            findings.append(Finding(None, f"{missing}--protocol precision`"))
    return outcome(findings)


def written(rows: Sequence[Row], datasets: Sequence[str]) -> str:
    """A line for each attack, on the classifier alone and behind the shipped purifier."""
    lines = []
    for dataset in datasets:
        own = select(rows, dataset=dataset)
        others = {precision: {_question(row): share(row) for _, row in _pairs(own, precision)} for precision in REDUCED}
        for exact in select(own, precision="fp32"):
            question = _question(exact)
            if any(question in measured for measured in others.values()):
                attack = NOT_MEASURED if exact.attack == "none" else TITLES[exact.attack].format(exact.eps)
                cells = [others[precision].get(question, NOT_MEASURED) for precision in REDUCED]
                lines.append([dataset, attack, exact.defense, share(exact), *cells])
    head = ["data set", "attack, oblivious", "purifier", "fp32", *REDUCED]
    return table(head, lines) if lines else "Not measured yet."


def _pairs(rows: Sequence[Row], precision: str) -> list[tuple[Row, Row]]:
    """Each row of a precision behind the fp32 row of the same attack on the same images."""
    exact = {_question(row): row for row in select(rows, precision="fp32")}
    others = [row for row in select(rows, precision=precision) if row.defense in {DEFAULT_DEFENSE, NO_DEFENSE}]
    return [(exact[_question(row)], row) for row in others if _question(row) in exact]


def _question(row: Row) -> tuple[object, ...]:
    """What was asked, without who answered."""
    return replace(row, artefact="", precision="").key
