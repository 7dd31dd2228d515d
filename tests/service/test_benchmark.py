"""The benchmark times warm calls only, of the batch that was asked for."""

from __future__ import annotations

from collections import Counter

import pytest

from service.benchmark import benchmark, main
from service.catalog import Catalog, Classifier, FloatArray
from service.inference import Session, Tensors
from service.prediction import Defense
from service.settings import Settings
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


@pytest.mark.parametrize(
    ("defense", "asked"),
    # Ten seconds hold two calls of six; of what is not slow two more come first. Classifiers stand still here.
    [("puvae", {"purify": 2, "pipeline": 2}), ("autoencoder", {"purify": 4, "pipeline": 4})],
)
def test_ten_seconds_of_a_stage_are_enough(
    with_slow: Settings, monkeypatch: pytest.MonkeyPatch, defense: str, asked: dict[str, int]
) -> None:
    catalog = Catalog.load(with_slow.models_dir, "cpu", 1)
    Defense.of(catalog, "mnist", defense)
    catalog.pipeline("mnist", defense)
    now, calls, run = [0.0], Counter[str](), Session.run

    def takes_six_seconds(self: Session, **inputs: Array) -> Tensors:
        stage = (
            "classify" if "noise" not in inputs else "purify" if "purified_images" in self.output_names else "pipeline"
        )
        calls[stage] += 1
        now[0] += 0.0 if stage == "classify" else 6.0
        return run(self, **inputs)

    monkeypatch.setattr(Session, "run", takes_six_seconds)
    monkeypatch.setattr("service.benchmark.time.perf_counter", lambda: now[0])
    timings = benchmark(catalog, "mnist", defense, batch=1, repeats=3)
    assert {timing.stage: timing.durations_ms for timing in timings} == {
        "purify": (6000.0, 6000.0),
        "classify": (0.0, 0.0, 0.0),
        "pipeline": (6000.0, 6000.0),
    }
    assert {stage: calls[stage] for stage in asked} == asked


def test_all_of_them_are_timed_and_what_they_share_once(catalog: Catalog) -> None:
    timings = benchmark(catalog, "mnist", "all", batch=2, repeats=2)
    stages = [(timing.defense, timing.stage) for timing in timings]
    both = [(name, stage) for name in ("autoencoder", "puvae") for stage in ("purify", "classify", "pipeline")]
    assert stages == [*both[:3], ("distillation", "classify"), *both[3:], ("none", "classify")]
    plain = {timing.durations_ms for timing in timings if timing.graph.name == "mnist-classifier"}
    assert len(plain) == 1


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
