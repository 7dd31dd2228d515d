"""Table 3 sets what each defense holds beside what it costs, as multiples of the shipped one's time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.training.rows import LATENCY, ROW
from tests.training.test_tables import _line
from training import costs, costs_figure
from training.latencies import Latency
from training.results import Row

WEAK = replace(ROW, attack="fgsm", eps=0.3, robust_accuracy=0.97)
PGD = replace(ROW, attack="pgd", eps=0.15, steps=40, robust_accuracy=0.96)


def timed(defense: str, stage: Any, p50_ms: float, **changes: Any) -> Latency:
    return replace(LATENCY, defense=defense, stage=stage, p50_ms=p50_ms, **changes)


def rows(defense: str, noise: str = "zero") -> list[Row]:
    return [replace(row, defense=defense, noise=noise) for row in (ROW, WEAK, PGD)]


TIMINGS = [
    timed("autoencoder", "purify", 2.0),
    timed("autoencoder", "pipeline", 8.0),
    timed("autoencoder", "pipeline", 160.0, batch=64),
    timed("autoencoder", "pipeline", 12.0, runtime="torch"),
    timed("defense_gan", "purify", 3000.0, n=3),
    timed("defense_gan", "pipeline", 3200.0, n=3),
    timed("none", "classify", 6.0),
    timed("none", "classify", 15.0, runtime="torch"),
]


def test_times_are_multiples_of_the_shipped_auto_encoders() -> None:
    recorded = [*rows("autoencoder"), *rows("defense_gan"), *rows("none", "")]
    text = costs.written(recorded, TIMINGS, ("mnist",), "models/latency.csv")
    accuracies = ["0.9900", "0.9700", "0.9500", "0.9600"]
    assert "Timed on a processor, 2 threads" in text
    ours = _line(text, "mnist", "our auto-encoder")
    assert ours[2:] == [*accuracies, "1.00", "1.00", "1.00", "1.50", "–", "–"]
    rival = _line(text, "mnist", "Defense-GAN")
    assert rival[2:] == [*accuracies, "1,500 (n 3)", "400 (n 3)", "–", "–", "0.8529", "14.8 (× 1,850)"]
    assert _line(text, "mnist", "no defense")[6:] == ["–", "0.75", "–", "2.50", "–", "–"]
    assert "[latency.csv](models/latency.csv)" in text
    assert "oblivious" in text


def test_devices_are_told_apart() -> None:
    """A time is compared with the shipped auto-encoder's on the same device alone."""
    quick = [timed("autoencoder", "purify", 0.1, device="a GPU"), timed("puvae", "purify", 0.2, device="a GPU")]
    text = costs.written([], [*TIMINGS, *quick], ("mnist",), "latency.csv")
    first, second = text.split("Timed on a GPU")
    assert costs.devices([*TIMINGS, *quick]) == ["a processor, 2 threads", "a GPU"]
    assert _line(second, "mnist", "PuVAE")[6] == "2.00"
    assert "PuVAE" not in first
    assert costs.purify_ratio(TIMINGS, "mnist", "puvae") is None


def test_without_timings_the_accuracies_stand_alone() -> None:
    text = costs.written(rows("autoencoder"), [], ("mnist",), "latency.csv")
    assert _line(text, "mnist", "our auto-encoder")[2:] == ["0.9900", "0.9700", "0.9500", "0.9600", *["–"] * 6]


def test_the_figure_has_no_place_for_a_defense_that_was_not_timed() -> None:
    untimed = replace(ROW, defense="autoencoder_robust", robust_accuracy=0.4)
    axis = costs_figure.drawn([ROW, untimed], [LATENCY], ("mnist",)).axes[0]
    assert [text.get_text() for text in axis.texts if "robust" in text.get_text()] == []
    assert any("our auto-encoder" in text.get_text() for text in axis.texts)
