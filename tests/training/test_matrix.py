from __future__ import annotations

from dataclasses import replace

from tests.training.rows import ROW
from training import matrix

CW = replace(ROW, attack="cw", norm="l2", eps=1.5, steps=100, step_size=0.05, n=100, robust_accuracy=0.7)
GEODA = replace(CW, attack="geoda", steps=1000, step_size=0.0, robust_accuracy=0.25)


def _line(text: str, title: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if f"| {title} |" in line]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_each_cell_stands_under_what_its_attacker_knew() -> None:
    rows = [
        replace(CW, defense="none", noise="", robust_accuracy=0.1),
        CW,
        replace(CW, knowledge="adaptive", robust_accuracy=0.4),
        replace(GEODA, knowledge="black_box"),
    ]
    text = matrix.written(rows, ("mnist",))
    shares = [cell[:6] for cell in _line(text, "cw L2 1.5")[3:]]
    assert shares == ["0.1000", "0.7000", "0.4000"]
    assert _line(text, "geoda L2 1.5")[3:5] == ["–", "–"]
    assert _line(text, "geoda L2 1.5")[5].endswith("black_box")


def test_a_radius_or_a_length_of_another_protocol_is_no_cell() -> None:
    rows = [replace(CW, eps=2.0), replace(CW, steps=10)]
    assert _line(matrix.written(rows, ("mnist",)), "cw L2 1.5")[3:] == ["–"] * 3


def test_the_figure_says_accuracy_and_n_of_each_cell() -> None:
    figure = matrix.drawn([CW, replace(GEODA, knowledge="black_box")], ("mnist",))
    words = {text.get_text() for text in figure.axes[0].texts}
    assert words == {"0.700  (100)", "0.250*  (100)", "–"}


def test_the_robust_purifier_stands_beside_the_shipped_one_where_the_zoo_was_run_on_it() -> None:
    robust = replace(CW, defense="autoencoder_robust", knowledge="adaptive", robust_accuracy=0.9)
    shares = [cell[:6] for cell in _line(matrix.written([CW, robust], ("mnist",)), "cw L2 1.5")[3:]]
    assert shares == ["–", "0.7000", "–", "–", "0.9000"]
    axis = matrix.drawn([CW, robust], ("mnist",)).axes[0]
    assert [label.get_text().split(",")[0] for label in axis.get_xticklabels()][3:] == ["robust", "robust"]
