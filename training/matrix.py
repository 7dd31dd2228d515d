"""The matrix of the zoo: every attack against the undefended classifier and the shipped purifier. Knows no models."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from service.attacks import ATTACKS
from service.catalog import DEFAULT_DEFENSE, NO_DEFENSE
from training import zoo
from training.drawing import BLACK, GREY, TITLES
from training.measurement import CLEAN, AttackSpec
from training.results import Row, largest
from training.tables import NOT_MEASURED, share, table

_COLUMNS = ("undefended", "defended, oblivious", "defended, adaptive or black box")
_NORMS = {"linf": "L∞", "l2": "L2", "l0": "L0"}
_DARK = 0.65


def is_measured(rows: Sequence[Row], dataset: str) -> bool:
    """Whether any attack of the zoo beyond those of the other protocols was measured."""
    return any(row.dataset == dataset and row.norm != "linf" for row in rows)


def written(rows: Sequence[Row], datasets: Sequence[str]) -> str:
    """The matrix as a table; a cell shows its interval and n."""
    lines = []
    for dataset in datasets:
        for spec in (CLEAN, *zoo.specs()):
            seen = NOT_MEASURED if spec == CLEAN else ATTACKS[spec.attack].access  # type: ignore[index]
            cells = [share(row) + _asked(row) for row in _cells(rows, dataset, spec)]
            lines.append([dataset, _title(spec), seen, *cells])
    return table(["data set", "attack", "sees", *_COLUMNS], lines)


def drawn(rows: Sequence[Row], datasets: Sequence[str]) -> Figure:
    """The matrix as a figure, a panel for each data set; dark is robust."""
    specs = (CLEAN, *zoo.specs())
    figure = Figure(figsize=(2.6 + 3.4 * len(datasets), 1.4 + 0.34 * len(specs)), layout="constrained")
    axes = figure.subplots(1, len(datasets), squeeze=False, sharey=True)[0]
    for axis, dataset in zip(axes, datasets, strict=True):
        for line, spec in enumerate(specs):
            for column, row in enumerate(_cells(rows, dataset, spec)):
                _draw_cell(axis, column, line, row)
        axis.set(title=TITLES.get(dataset, dataset), xlim=(-0.5, 2.5), ylim=(len(specs) - 0.5, -0.5))
        axis.set_xticks(range(3), ["undefended", "oblivious", "adaptive or\nblack box*"], fontsize=9)
        axis.set_yticks(range(len(specs)), [_title(spec) for spec in specs], fontsize=9)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    figure.supxlabel("accuracy (n); the purifier's attacker is oblivious, or knows it, or asks it (*)", fontsize=9)
    return figure


def _cells(rows: Sequence[Row], dataset: str, spec: AttackSpec) -> tuple[Row | None, Row | None, Row | None]:
    find = partial(
        largest, rows, dataset=dataset, attack=spec.attack, norm=spec.norm, eps=spec.eps, steps=spec.steps
    )  # fmt: skip
    if spec == CLEAN:
        return find(defense=NO_DEFENSE), find(defense=DEFAULT_DEFENSE, noise="zero"), None
    asks = ATTACKS[spec.attack].access != "gradients"  # type: ignore[index]
    behind = {"defense": DEFAULT_DEFENSE, "noise": "zero"}
    return (
        find(defense=NO_DEFENSE, knowledge="black_box" if asks else "oblivious"),
        find(knowledge="oblivious", **behind),
        find(knowledge="black_box" if asks else "adaptive", **behind),
    )


def _title(spec: AttackSpec) -> str:
    return "no attack" if spec == CLEAN else f"{spec.attack} {_NORMS[spec.norm]} {spec.eps:g}"


def _asked(row: Row | None) -> str:
    return " black_box" if row is not None and row.knowledge == "black_box" else ""


def _draw_cell(axis: Axes, column: int, line: int, row: Row | None) -> None:
    if row is None:
        axis.text(column, line, NOT_MEASURED, ha="center", va="center", color=GREY)
        return
    color = mpl.colormaps["Blues"](0.85 * row.robust_accuracy)
    axis.fill_between([column - 0.48, column + 0.48], line - 0.46, line + 0.46, color=color, lw=0)
    star = "*" if row.knowledge == "black_box" else ""
    text = f"{row.robust_accuracy:.3f}{star}  ({row.n:,})"
    axis.text(
        column, line, text, ha="center", va="center", fontsize=8,
        color="white" if row.robust_accuracy > _DARK else BLACK,
    )  # fmt: skip
