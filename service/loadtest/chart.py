"""The latency-throughput curve as inline SVG: results a second to the right, milliseconds upwards by decades."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

_WIDTH, _HEIGHT = 720, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 36, 48
_LINES = (("p50_ms", "p50", "var(--p50)"), ("p99_ms", "p99", "var(--p99)"))


class _Axes:
    """Data to pixels."""

    def __init__(self, most_rps: float, lowest_ms: float, highest_ms: float) -> None:
        step = math.pow(10, math.floor(math.log10(most_rps)))
        self.step = next(s for s in (step / 5, step / 2, step, 2 * step) if most_rps / s <= 6 or s == 2 * step)
        self.most_rps = math.ceil(most_rps / self.step) * self.step
        self.low = math.floor(math.log10(lowest_ms))
        self.high = max(self.low + 1, math.ceil(math.log10(highest_ms)))

    def x(self, rps: float) -> float:
        return _LEFT + rps / self.most_rps * (_WIDTH - _LEFT - _RIGHT)

    def y(self, ms: float) -> float:
        share = (math.log10(ms) - self.low) / (self.high - self.low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    def grid(self) -> str:
        marks = []
        for decade in range(self.low, self.high + 1):
            y = self.y(math.pow(10, decade))
            marks.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
            marks.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{math.pow(10, decade):g}</text>')
        for index in range(round(self.most_rps / self.step) + 1):
            x, value = self.x(index * self.step), f"{index * self.step:g}"
            marks.append(f'<path class="grid" d="M{x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>')
            marks.append(f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{value}</text>')
        return "".join(marks)


def curve(summaries: Sequence[dict[str, Any]], knee_users: int | None) -> str:
    """An SVG of p50 and p99 against throughput, a point per closed-loop stage; empty where nothing was answered."""
    points = [row for row in summaries if row["p50_ms"] and row["achieved_rps"] > 0]
    if not points:
        return ""
    axes = _Axes(
        max(row["achieved_rps"] for row in points),
        min(row["p50_ms"] for row in points),
        max(row["p99_ms"] for row in points),
    )
    parts = [axes.grid()]
    parts += [_line(axes, points, *line, knee_users=knee_users) for line in _LINES]
    parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 8}" text-anchor="end">results a second</text>')
    parts.append('<text x="8" y="14">ms, logarithmic</text>')
    label = "Latency against throughput, one point per number of users"
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _line(
    axes: _Axes, points: Sequence[dict[str, Any]], key: str, name: str, colour: str, *, knee_users: int | None
) -> str:
    places = [(axes.x(row["achieved_rps"]), axes.y(row[key])) for row in points]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    parts = [f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for (x, y), row in zip(places, points, strict=True):
        knee = knee_users is not None and row["users"] == knee_users
        title = f"{row['name']}: {row['achieved_rps']:.0f}/s, {name} {row[key]:.2f} ms"
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{6 if knee else 4}" fill="{colour}">'
            f"<title>{escape(title)}</title></circle>"
        )
        if key == "p99_ms":
            mark = f"{row['users']}{' knee' if knee else ''}"
            parts.append(f'<text x="{x:.1f}" y="{y - 10:.1f}" text-anchor="middle">{mark}</text>')
    first_x, first_y = places[0]
    parts.append(f'<text x="{first_x - 8:.1f}" y="{first_y + 4:.1f}" text-anchor="end" fill="{colour}">{name}</text>')
    return "".join(parts)
