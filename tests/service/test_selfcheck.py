"""Every graph is compared with the plainest answers, and one that differs fails the check by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from service import inference, selfcheck
from service.__main__ import main
from service.catalog import Catalog, FloatArray
from service.selfcheck import Comparison
from service.settings import Settings


def _check(models_dir: Path) -> int:
    return main(["--self-check", "--device", "cpu", "--threads", "1", "--models-dir", str(models_dir)])


def test_sound_graphs_pass_each_with_a_line(models_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _check(models_dir) == 0
    *lines, verdict = capsys.readouterr().out.splitlines()
    graphs = Catalog.load(models_dir, "cpu", 1).manifest.graphs
    assert [line.split()[:4] for line in lines] == [
        ["ok", graph.name, "on", "CPUExecutionProvider:"] for graph in graphs
    ]
    assert verdict == f"self-check: 0 of {len(graphs)} graphs failed"


@pytest.mark.parametrize(("wrong_by", "status"), [(1e-4, 0), (1e-1, 1)])
def test_an_engine_that_computes_otherwise_than_the_plain_one_fails_the_check(
    wrong_by: float,
    status: int,
    models_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _serve_instead(monkeypatch, lambda _, values: values * np.float32(1 + wrong_by))
    assert _check(models_dir) == status
    lines = capsys.readouterr().out.splitlines()
    exact = [line for line in lines if "allowed" in line]
    assert exact
    assert all(line.startswith("FAIL") == bool(status) for line in exact)


@pytest.mark.parametrize("output", ["logits", "images_gradient"])
def test_a_nan_in_any_output_fails_the_check(
    output: str, models_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _serve_instead(monkeypatch, lambda name, values: values * np.float32(np.nan if name == output else 1))
    assert _check(models_dir) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL")]
    assert failed
    assert all("differs by nan" in line for line in failed)


def test_a_slow_graph_that_draws_nothing_or_turns_its_answers_fails(
    with_slow: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog.load(with_slow.models_dir, "cpu", 1)
    slow = {graph.name: graph.kind for graph in catalog.manifest.graphs if graph.slow}
    _serve_instead(monkeypatch, lambda name, values: -values if name == "logits" else 0 * values)
    found = {comparison.graph: comparison for comparison in selfcheck.compare(catalog) if comparison.graph in slow}
    assert {comparison.n for comparison in found.values()} == {2}
    assert set(slow.values()) >= {"purifier", "pipeline"}
    assert not any(comparison.passes for comparison in found.values())


def test_a_graph_that_cannot_run_fails_with_the_engines_sentence_and_the_others_are_compared(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(name: str, values: FloatArray) -> FloatArray:
        if name == "purified_images":
            raise RuntimeError("no kernel for this GPU\nand a long trace")
        return values

    _serve_instead(monkeypatch, refuse)
    assert _check(models_dir) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("ok") for line in lines)
    failed = [line for line in lines if line.startswith("FAIL")]
    assert failed
    assert all(line.endswith("on CPUExecutionProvider: no kernel for this GPU") for line in failed)


@pytest.mark.parametrize(
    ("difference", "limit", "turned", "passes"),
    [
        (0.0, 1e-3, 0, True),
        (2e-3, 1e-3, 0, False),
        (0.5, None, 2, True),
        (0.5, None, 3, False),
        (0.0, 1e-3, 3, False),
        (float("nan"), None, None, False),
        (0.0, 1e-3, None, True),
    ],
)
def test_what_passes(difference: float, limit: float | None, turned: int | None, passes: bool) -> None:
    found = Comparison("g", "CPUExecutionProvider", n=30, difference=difference, limit=limit, turned=turned)
    assert found.passes == passes


def test_a_gradient_may_differ_by_more_and_int8_is_judged_by_its_answers_alone(models_dir: Path) -> None:
    catalog = Catalog.load(models_dir, "cpu", 1)
    limits = {found.graph: found.limit for found in selfcheck.compare(catalog)}
    for graph in catalog.manifest.graphs:
        exact = 1e-2 if graph.kind.endswith("gradient") else 1e-3
        assert limits[graph.name] == (pytest.approx(exact) if graph.precision == "fp32" else None)


def _serve_instead(monkeypatch: pytest.MonkeyPatch, change: Callable[[str, FloatArray], FloatArray]) -> None:
    """Let every session but the plain reference's change what it answers, output by output."""
    sound = inference.Session.run

    def run(self: inference.Session, **inputs: FloatArray) -> inference.Tensors:
        answers = sound(self, **inputs)
        options = self._session.get_session_options()
        if options.graph_optimization_level == ort.GraphOptimizationLevel.ORT_DISABLE_ALL:
            return answers
        return {name: change(name, values) for name, values in answers.items()}

    monkeypatch.setattr(inference.Session, "run", run)
