"""The matrix of the zoo: every attack against the undefended classifier and the purifiers. Knows no models."""

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
from training.robust_recipes import ROBUST_DEFENSE
from training.tables import NOT_MEASURED, share, table

_NORMS = {"linf": "L∞", "l2": "L2", "l0": "L0"}
_DARK = 0.65
_WORDS = ("", "robust,\n")


def is_measured(rows: Sequence[Row], dataset: str) -> bool:
    """Whether any attack of the zoo beyond those of the other protocols was measured."""
    return any(row.dataset == dataset and row.norm != "linf" for row in rows)


def written(rows: Sequence[Row], datasets: Sequence[str]) -> str:
    """The matrix as a table; a cell shows its interval and n."""
    purifiers = _purifiers(rows)
    lines = []
    for dataset in datasets:
        for spec in (CLEAN, *zoo.specs()):
            seen = NOT_MEASURED if spec == CLEAN else ATTACKS[spec.attack].access  # type: ignore[index]
            cells = [share(row) + _asked(row) for row in _cells(rows, dataset, spec, purifiers)]
            lines.append([dataset, _title(spec), seen, *cells])
    columns = [f"{name}, {knows}" for name in purifiers for knows in ("oblivious", "adaptive or black box")]
    return table(["data set", "attack", "sees", "undefended", *columns], lines)


def drawn(rows: Sequence[Row], datasets: Sequence[str]) -> Figure:
    """The matrix as a figure, a panel for each data set; dark is robust."""
    specs, purifiers = (CLEAN, *zoo.specs()), _purifiers(rows)
    columns = 1 + 2 * len(purifiers)
    figure = Figure(figsize=(2.6 + 1.15 * columns * len(datasets), 1.4 + 0.34 * len(specs)), layout="constrained")
    axes = figure.subplots(1, len(datasets), squeeze=False, sharey=True)[0]
    for axis, dataset in zip(axes, datasets, strict=True):
        for line, spec in enumerate(specs):
            for column, row in enumerate(_cells(rows, dataset, spec, purifiers)):
                _draw_cell(axis, column, line, row)
        axis.set(title=TITLES.get(dataset, dataset), xlim=(-0.5, columns - 0.5), ylim=(len(specs) - 0.5, -0.5))
        titles = [
            f"{word}{knows}" for word in _WORDS[: len(purifiers)] for knows in ("oblivious", "adaptive or\nblack box*")
        ]
        axis.set_xticks(range(columns), ["undefended", *titles], fontsize=8)
        axis.set_yticks(range(len(specs)), [_title(spec) for spec in specs], fontsize=9)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    figure.supxlabel("accuracy (n); a purifier's attacker is oblivious, or knows it, or asks it (*)", fontsize=9)
    return figure


def _purifiers(rows: Sequence[Row]) -> tuple[str, ...]:
    """The shipped one, and the robust one where the zoo was run on it."""
    robust = any(row.defense == ROBUST_DEFENSE and row.norm != "linf" for row in rows)
    return (DEFAULT_DEFENSE, ROBUST_DEFENSE) if robust else (DEFAULT_DEFENSE,)


def _cells(rows: Sequence[Row], dataset: str, spec: AttackSpec, purifiers: Sequence[str]) -> list[Row | None]:
    """Undefended, then of each purifier under an oblivious attacker, and one who knows or asks it."""
    find = partial(
        largest, rows, dataset=dataset, attack=spec.attack, norm=spec.norm, eps=spec.eps, steps=spec.steps
    )  # fmt: skip
    behind = [{"defense": name, "noise": "zero"} for name in purifiers]
    if spec == CLEAN:
        return [find(defense=NO_DEFENSE), *(row for own in behind for row in (find(**own), None))]
    asks = ATTACKS[spec.attack].access != "gradients"  # type: ignore[index]
    knows = "black_box" if asks else "adaptive"
    cells = [find(defense=NO_DEFENSE, knowledge="black_box" if asks else "oblivious")]
    for own in behind:
        cells += [find(knowledge="oblivious", **own), find(knowledge=knows, **own)]
    return cells


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
