"""What int8 costs: its rows beside those of fp32, as a check and as a table. Knows no models and no files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from service.catalog import DEFAULT_DEFENSE, NO_DEFENSE
from training.outcome import Finding, Outcome, outcome
from training.results import Row, select
from training.row_checks import name
from training.tables import NOT_MEASURED, TITLES, share, table

MARGIN = 0.003
_WHOLE_TEST_SET = 10_000


def close(rows: Sequence[Row]) -> Outcome:
    """Check 14, on the rows of one data set: int8 is within .3 points of fp32, clean and attacked."""
    findings = [
        Finding(
            round(abs(exact.robust_accuracy - quick.robust_accuracy), 4) <= MARGIN,
            f"{name(exact)}: fp32 {exact.robust_accuracy:.4f}, int8 {quick.robust_accuracy:.4f}",
        )
        for exact, quick in _pairs(rows)
        if quick.n >= _WHOLE_TEST_SET
    ]
    missing = f"{_WHOLE_TEST_SET:,} images are not measured: run `python -m training evaluate --protocol precision`"
    return outcome(findings or [Finding(None, missing)])


def written(rows: Sequence[Row], datasets: Sequence[str]) -> str:
    """A line for each attack, on the classifier alone and behind the shipped purifier."""
    lines = []
    for dataset in datasets:
        for exact, quick in _pairs(select(rows, dataset=dataset)):
            attack = NOT_MEASURED if exact.attack == "none" else TITLES[exact.attack].format(exact.eps)
            lines.append([dataset, attack, exact.defense, share(exact), share(quick)])
    return table(["data set", "attack, oblivious", "purifier", "fp32", "int8"], lines) if lines else "Not measured yet."


def _pairs(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Each int8 row behind the fp32 row of the same attack on the same images."""
    exact = {_question(row): row for row in select(rows, precision="fp32")}
    quick = [row for row in select(rows, precision="int8") if row.defense in {DEFAULT_DEFENSE, NO_DEFENSE}]
    return [(exact[_question(row)], row) for row in quick if _question(row) in exact]


def _question(row: Row) -> tuple[object, ...]:
    """What was asked, without who answered."""
    return replace(row, artefact="", precision="").key
