"""The benchmark times warm calls only, of the batch that was asked for."""

from __future__ import annotations

import pytest

from service.benchmark import benchmark, main
from service.catalog import Catalog, Classifier, FloatArray
from tests.service.asking import Array


def test_two_calls_before_the_timed_ones_are_not_counted(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[FloatArray] = []
    logits = Classifier.logits

    def counted(self: Classifier, images: Array) -> FloatArray:
        batches.append(images)
        return logits(self, images)

    monkeypatch.setattr(Classifier, "logits", counted)
    (timing,) = benchmark(catalog, "mnist", "none", batch=40, repeats=3)
    assert len(timing.durations_ms) == 3
    assert [batch.shape for batch in batches] == 5 * [(40, 1, 28, 28)]


@pytest.mark.parametrize("repeats", ["0", "-1", "many", "\u00b2"])
def test_repeats_that_cannot_be_made_are_refused_in_a_sentence(
    repeats: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main([f"--repeats={repeats}"])
    assert refused.value.code == 2
    assert "allowed: a whole number of at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "fragment"),
    [("PURIFIER_PORT", "x", "port is 'x'; "), ("PURIFIER_DEVICE", "tpu", "device is 'tpu'; ")],
)
def test_settings_that_are_refused_are_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, fragment: str
) -> None:
    monkeypatch.setenv(name, value)
    assert main([]) == 2
    assert f"service.benchmark: {fragment}" in capsys.readouterr().err
    monkeypatch.delenv(name)
    assert main(["--threads=0"]) == 2
    assert "threads is '0'" in capsys.readouterr().err
