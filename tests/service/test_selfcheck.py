"""Every graph is compared with the plainest answers, and one that differs fails the check by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from service import inference, selfcheck
from service.__main__ import main
from service.catalog import Catalog
from service.selfcheck import Comparison


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
    plain = inference.Session.run

    def off(self: inference.Session, **inputs: np.ndarray[Any, np.dtype[np.float32]]) -> inference.Tensors:
        answers = dict(plain(self, **inputs))
        options = self._session.get_session_options()
        if options.graph_optimization_level != ort.GraphOptimizationLevel.ORT_DISABLE_ALL:
            answers = {name: values * np.float32(1 + wrong_by) for name, values in answers.items()}
        return answers

    monkeypatch.setattr(inference.Session, "run", off)
    assert _check(models_dir) == status
    lines = capsys.readouterr().out.splitlines()
    exact = [line for line in lines if "allowed" in line]
    assert exact
    assert all(line.startswith("FAIL") == bool(status) for line in exact)


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
    assert Comparison("g", "CPUExecutionProvider", 30, difference, limit, turned).passes == passes


def test_a_gradient_may_differ_by_more_and_int8_is_judged_by_its_answers_alone(models_dir: Path) -> None:
    catalog = Catalog.load(models_dir, "cpu", 1)
    limits = {found.graph: found.limit for found in selfcheck.compare(catalog)}
    for graph in catalog.manifest.graphs:
        exact = 1e-2 if graph.kind.endswith("gradient") else 1e-3
        assert limits[graph.name] == (pytest.approx(exact) if graph.precision == "fp32" else None)
