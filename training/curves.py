"""Figures that are drawn from the rows: accuracy against eps, and confusion before and after. Knows no models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from service.catalog import DEFAULT_DEFENSE, NO_DEFENSE
from training import paper
from training.confusions import Counts, Identity, identity
from training.drawing import BLACK, BLUE, GREY, ORANGE, TITLES, VERMILION
from training.protocols import FGSM_EPS, HEADLINE_FGSM_EPS, HEADLINE_PGD_EPS, INFORMATION_LIMIT, PGD_EPS, PGD_STEPS
from training.results import Row, largest
from training.tables import find

_LEAST_SHOWN = 0.02
_PANELS = 3


@dataclass(frozen=True)
class _Series:
    """One line: whose answers under which attacker's images."""

    title: str
    defense: str
    knowledge: str
    color: str
    marker: str


_SERIES = (
    _Series("undefended", NO_DEFENSE, "oblivious", BLACK, "o"),
    _Series("defended, oblivious attacker", DEFAULT_DEFENSE, "oblivious", BLUE, "s"),
    _Series("defended, adaptive attacker", DEFAULT_DEFENSE, "adaptive", VERMILION, "^"),
)


def accuracy_against_eps(rows: Sequence[Row], datasets: Sequence[str]) -> Figure:
    """FGSM above, PGD below, a column for each data set; with 95 % intervals and the paper's points."""
    figure = Figure(figsize=(4.8 * len(datasets), 7.4), layout="constrained")
    axes = figure.subplots(2, len(datasets), squeeze=False, sharey=True)
    for line, (attack, every_eps) in zip(axes, (("fgsm", FGSM_EPS), ("pgd", (0.0, *PGD_EPS))), strict=True):
        for axis, dataset in zip(line, datasets, strict=True):
            for series in _SERIES:
                points = _points(rows, dataset, attack, every_eps, series)
                if any(row.eps > 0 for row in points):
                    _draw(axis, points, series)
            _draw_paper(axis, dataset, attack)
            _label(axis, f"{attack.upper()} on {TITLES.get(dataset, dataset)}", every_eps)
        line[0].set_ylabel("accuracy")
    handles = [
        *(Line2D([], [], color=series.color, marker=series.marker, label=series.title) for series in _SERIES),
        Line2D([], [], color=GREY, marker="o", markerfacecolor="white", ls=":", label="the paper, undefended"),
        Line2D([], [], color=ORANGE, marker="*", ms=12, ls="", label="the paper, defended (oblivious attacker)"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _points(rows: Sequence[Row], dataset: str, attack: str, every_eps: Sequence[float], series: _Series) -> list[Row]:
    found = (find(rows, dataset, (attack, eps), series.defense, series.knowledge) for eps in every_eps)
    return [row for row in found if row is not None]


def _draw(axis: Axes, points: Sequence[Row], series: _Series) -> None:
    eps = [row.eps for row in points]
    axis.fill_between(
        eps, [row.ci_low for row in points], [row.ci_high for row in points], color=series.color, alpha=0.15, lw=0
    )
    axis.plot(eps, [row.robust_accuracy for row in points], color=series.color, marker=series.marker, ms=5, lw=1.6)


def _draw_paper(axis: Axes, dataset: str, attack: str) -> None:
    points = paper.UNDEFENDED.get((dataset, attack), {})
    axis.plot(list(points), list(points.values()), color=GREY, marker="o", ms=5, mfc="white", ls=":", lw=1.2)
    defended = paper.DEFENDED.get((dataset, attack))
    if defended is not None:
        axis.plot(paper.HEADLINE_EPS[attack], defended, color=ORANGE, marker="*", ms=16, mec=BLACK, mew=0.6, zorder=1.5)


def _label(axis: Axes, title: str, every_eps: Sequence[float]) -> None:
    axis.set(title=title, xlabel="ε (L∞, pixels in [0, 1])", ylim=(-0.02, 1.02))
    axis.set_xticks(every_eps, [f"{eps:g}" for eps in every_eps])
    axis.grid(axis="y", lw=0.5, alpha=0.4)
    if max(every_eps) >= INFORMATION_LIMIT:
        axis.axvspan(INFORMATION_LIMIT, max(every_eps), color=GREY, alpha=0.13, lw=0)
        text = "beyond the\ninformation limit"
        axis.text(max(every_eps), 0.97, text + " ", ha="right", va="top", color=GREY, fontsize=9)


def confused(rows: Sequence[Row], counts: Mapping[Identity, Counts], dataset: str) -> list[tuple[str, Counts]]:
    """Titles and counts (10, 10) of the panels of a confusion figure, as far as they were counted."""
    wanted = _confused_rows(rows, dataset)
    return [(title, counts[identity(row)]) for title, row in wanted if row is not None and identity(row) in counts]


def confusion(panels: Sequence[tuple[str, Counts]], dataset: str, class_names: Sequence[str]) -> Figure:
    """Who is called what: clean, under FGSM and under PGD, before and after purification."""
    lines = -(-len(panels) // _PANELS)
    figure = Figure(figsize=(3.9 * _PANELS, 3.9 * lines), layout="constrained")
    axes = figure.subplots(lines, _PANELS, squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for axis, (title, table) in zip(axes.flat, panels, strict=False):
        _draw_confusion(axis, title, table, class_names)
    figure.suptitle(f"{TITLES.get(dataset, dataset)}: per cent of each true class (rows) that was called so (columns)")
    return figure


def _confused_rows(rows: Sequence[Row], dataset: str) -> list[tuple[str, Row | None]]:
    fgsm = {"attack": "fgsm", "eps": HEADLINE_FGSM_EPS}
    pgd = {"attack": "pgd", "eps": HEADLINE_PGD_EPS, "steps": PGD_STEPS}
    alone = {"dataset": dataset, "defense": NO_DEFENSE}
    behind = {"dataset": dataset, "defense": DEFAULT_DEFENSE, "noise": "zero"}
    titles = (f"FGSM ε={HEADLINE_FGSM_EPS:g}", f"PGD ε={HEADLINE_PGD_EPS:g}")
    return [
        ("clean, undefended", largest(rows, attack="none", **alone)),
        (f"{titles[0]}, undefended", largest(rows, **fgsm, **alone)),
        (f"{titles[1]}, undefended", largest(rows, **pgd, **alone)),
        ("clean, defended", largest(rows, attack="none", **behind)),
        (f"{titles[0]} (oblivious), defended", largest(rows, knowledge="oblivious", **fgsm, **behind)),
        (f"{titles[1]} (oblivious), defended", largest(rows, knowledge="oblivious", **pgd, **behind)),
        (f"{titles[1]} (adaptive), defended", largest(rows, knowledge="adaptive", **pgd, **behind)),
    ]


def _draw_confusion(axis: Axes, title: str, table: Counts, class_names: Sequence[str]) -> None:
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (true, called), share in np.ndenumerate(shares):
        if share >= _LEAST_SHOWN:
            axis.text(
                called, true, f"{100 * share:.0f}", ha="center", va="center", fontsize=6.5,
                color="white" if share > 0.55 else BLACK,
            )  # fmt: skip
    axis.set_title(title, fontsize=9.5)
    axis.set_xticks(
        range(len(class_names)), list(class_names), fontsize=7, rotation=45 if len(class_names[0]) > 2 else 0
    )
    axis.set_yticks(range(len(class_names)), list(class_names), fontsize=7)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
