"""Accuracy against the time to purify, for every defense. Knows no models and no files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from service.benchmark import PAPER_ACCURACY, PAPER_SECONDS
from service.catalog import DEFAULT_DEFENSE
from training.costs import ATTACKS, DEFENSES, devices, named, purify_ratio
from training.drawing import BLACK, BLUE, GREY, ORANGE, TITLES
from training.latencies import Latency
from training.results import Row
from training.tables import find

_LOOKS = {"fgsm": ("s", ORANGE), "pgd": ("o", BLUE)}
_PRINTED = {DEFAULT_DEFENSE: "auto-encoder", "puvae": "PuVAE", "defense_gan": "Defense-GAN"}
_LINE_HEIGHT = 0.045
_LABEL_DECADES = 1.2
_GAP = 1.35
_FASTER = 0.8


@dataclass(frozen=True)
class _Point:
    """Where a label goes: beside a point, or above a line across the panel where `ratio` is None."""

    title: str
    ratio: float | None
    accuracy: float
    color: str = BLACK


def drawn(rows: Sequence[Row], timings: Sequence[Latency], datasets: Sequence[str]) -> Figure:
    """A panel for each data set, of the device with the most timings; the paper's points beside ours on MNIST.

    A defense without a purifier is a line across: it takes no time before the classifier. One that was not timed has no
    place.
    """
    device = devices(timings)[0]
    own = [timing for timing in timings if timing.device == device]
    figure = Figure(figsize=(6.4 * len(datasets), 5.6), layout="constrained")
    axes = figure.subplots(1, len(datasets), squeeze=False, sharey=True)[0]
    for axis, dataset in zip(axes, datasets, strict=True):
        points = [*_ours(axis, rows, own, dataset), *(_the_papers(axis) if dataset == "mnist" else [])]
        axis.set(xscale="log", ylim=(-0.04, 1.06), title=TITLES.get(dataset, dataset))
        axis.set_xlabel("time to purify one picture: multiples of our auto-encoder's")
        axis.margins(x=0.6)
        axis.grid(lw=0.5, alpha=0.4)
        _label(axis, points)
    axes[0].set_ylabel("accuracy under attack")
    handles = [
        Line2D([], [], color=_LOOKS[attack][1], marker=_LOOKS[attack][0], ls=":", label=f"{attack.upper()} {eps:g}")
        for attack, eps in ATTACKS
    ]
    handles.append(
        Line2D([], [], color=GREY, marker="*", ms=10, ls="", label="printed in the paper: FGSM 0.6, its hardware")
    )
    figure.legend(handles=handles, loc="outside lower center", ncols=3, title="oblivious attackers")
    figure.suptitle(f"ONNX Runtime on {device}", fontsize=9, color=GREY)
    return figure


def _ours(axis: Axes, rows: Sequence[Row], timings: Sequence[Latency], dataset: str) -> list[_Point]:
    points = []
    timed = {timing.defense for timing in timings if timing.dataset == dataset}
    for defense in named(rows, timings, dataset):
        if defense not in timed:
            continue
        ratio = purify_ratio(timings, dataset, defense)
        found = [
            (attack[0], row.robust_accuracy) for attack in ATTACKS if (row := find(rows, dataset, attack, defense))
        ]
        for attack, accuracy in found:
            marker, color = _LOOKS[attack]
            if ratio is None:
                axis.axhline(accuracy, color=color, lw=0.9, ls=":")
            else:
                axis.plot(ratio, accuracy, marker=marker, color=color, ms=7)
        if found:
            accuracies = [accuracy for _, accuracy in found]
            if ratio is not None:
                axis.plot([ratio, ratio], [min(accuracies), max(accuracies)], color=GREY, lw=0.8, zorder=0.5)
            points.append(_Point(DEFENSES.get(defense, defense), ratio, max(accuracies)))
    return points


def _the_papers(axis: Axes) -> list[_Point]:
    points = []
    for name, seconds in PAPER_SECONDS.items():
        ratio = seconds / PAPER_SECONDS[DEFAULT_DEFENSE]
        axis.plot(ratio, PAPER_ACCURACY[name], color=GREY, marker="*", ms=10)
        points.append(_Point(f"{_PRINTED[name]}, as printed", ratio, PAPER_ACCURACY[name], GREY))
    return points


def _label(axis: Axes, points: Sequence[_Point]) -> None:
    """Beside each point its title, moved down where another one stands."""
    edge = axis.get_xlim()[0]
    placed: list[tuple[bool, float, float]] = []
    for point in sorted(points, key=lambda point: -point.accuracy):
        on_the_left = point.ratio is not None and point.ratio < _FASTER
        height = point.accuracy + (_LINE_HEIGHT / 2 if point.ratio is None else 0)
        place = math.log10(point.ratio or edge)
        while any(
            side == on_the_left and abs(place - x) < _LABEL_DECADES and abs(height - y) < _LINE_HEIGHT
            for side, x, y in placed
        ):
            height -= _LINE_HEIGHT / 4
        placed.append((on_the_left, place, height))
        at = 10**place * (1 / _GAP if on_the_left else _GAP)
        side = "right" if on_the_left else "left"
        axis.text(at, height, point.title, color=point.color, fontsize=8.5, va="center", ha=side)
