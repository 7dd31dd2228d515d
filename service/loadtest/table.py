"""The findings as text, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.loadtest.plan import KNEE_SHARE, Findings

COLUMNS = {
    "name": "load",
    "offered_rps": "offered/s",
    "achieved_rps": "achieved/s",
    "p50_ms": "p50 ms",
    "p90_ms": "p90 ms",
    "p95_ms": "p95 ms",
    "p99_ms": "p99 ms",
    "p999_ms": "p99.9 ms",
    "shed": "shed",
    "failed": "failed",
}


def cell(value: object) -> str:
    """A number with as many digits as say something, a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 100 else f"{value:.2f}"
    return str(value)


def rows(found: Findings) -> list[dict[str, Any]]:
    """A row of `COLUMNS` per stage."""
    return [{name: stage.summary()[name] for name in COLUMNS} for stage in (*found.closed, *found.open)]


def lay_out(header: list[str], lines: list[list[str]]) -> str:
    """Columns as wide as they need to be, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if index == 0 else text.rjust(width)
            for index, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in (header, *lines)
    )


def text(found: Findings) -> str:
    """The table of all stages, then what it says in sentences."""
    lines = [[cell(value) for value in row.values()] for row in rows(found)]
    return "\n\n".join([lay_out(list(COLUMNS.values()), lines), "\n".join(sentences(found))])


def sentences(found: Findings) -> list[str]:
    """Calibration, knee, split, overload and recovery, each where it was measured."""
    said = []
    if found.calibration is not None:
        said.append(_calibration(found))
    if (knee := found.knee) is not None:
        said.append(
            f"Knee: {knee.users} users, {cell(knee.achieved_rps)} results/s "
            f"(the fewest users with {KNEE_SHARE:.0%} of the most that was reached)."
        )
        said += [f"Where the time goes there, medians: {split}." for split in [_split(knee.summary())] if split]
    if (twice := found.open_stage("twice the knee")) is not None:
        summary = twice.summary()
        kinds = ", ".join(f"{count} × {status}" for status, count in summary["statuses"].items())
        said.append(f"Overload at twice the knee: {summary['shed_share']:.0%} shed; statuses {kinds or 'none'}.")
        recovered = found.recovered_s
        said.append(
            "Recovery: not seen within the time measured."
            if recovered is None
            else f"Recovery: answers as before {recovered:.2f} s after the overload."
        )
    if found.interrupted:
        said.append("Interrupted: the last stage is shorter than the others, and those after it are missing.")
    return said


def _calibration(found: Findings) -> str:
    assert found.calibration is not None
    ceiling = found.calibration.achieved_rps
    most = max((stage.achieved_rps for stage in (*found.closed, *found.open)), default=0.0)
    verdict = "it is no limit here" if most <= ceiling / 2 else "it may be the limit here, not the service"
    return (
        f"Calibration: this generator gets {cell(ceiling)} answers/s from a no-op route with "
        f"{found.calibration.users} users; {verdict}."
    )


def _split(summary: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.2f} ms" for name, value in summary["stages_p50_ms"].items())
