"""How every figure looks and is saved: colours that colour-blind readers tell apart, the same bytes every time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

# Okabe and Ito's palette.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION = "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00"
GREY = "#6e7781"
RIGHT, WRONG = BLUE, VERMILION
TITLES = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "purifier",
    "savefig.facecolor": "white",
}
_DPI = 120


def save(draw: Callable[[], Figure], folder: Path, name: str) -> None:
    """Draw in the common style and write NAME.png and NAME.svg, free of dates, versions and random names."""
    with mpl.rc_context(_STYLE):
        figure = draw()
        figure.savefig(folder / f"{name}.png", dpi=_DPI, metadata={"Software": None})
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
