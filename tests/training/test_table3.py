"""Every defense is timed at both batch sizes in both libraries, which compute the same."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service.catalog import Catalog
from training import latencies, table3

CPU = torch.device("cpu")


def test_every_stage_is_timed_in_both_libraries_and_kept(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table3, "BATCHES", (1, 4))
    threads = torch.get_num_threads()
    try:
        rows = table3.measure(models, (), device=CPU, threads=1, repeats=2, budget_s=60)
    finally:
        torch.set_num_threads(threads)
    stages = [(stage, name) for name in ("autoencoder", "autoencoder_paper") for stage in ("purify", "pipeline")]
    wanted = product([*stages, ("classify", "none")], (1, 4), ("onnxruntime", "torch"))
    assert {((row.stage, row.defense), row.batch, row.runtime) for row in rows} == set(wanted)
    assert all(0 < row.p50_ms <= row.p95_ms <= row.p99_ms and row.n == 2 for row in rows)
    assert all(row.device.endswith(", 1 thread") for row in rows)
    assert {row.key for row in latencies.read(models / "latency.csv")} == {row.key for row in rows}
    printed = table3.printed(models, rows)
    assert "our auto-encoder" in printed
    assert "other hardware" in printed


def test_what_is_timed_beside_each_other_computes_the_same(models: Path) -> None:
    calls = dict(table3._calls(Catalog.load(models, "cpu", 1), "mnist", 3, CPU))
    served = [key for key in calls if key[2] == "onnxruntime"]
    assert len(served) == 5
    for stage, defense, library in served:
        answers: Any = calls[stage, defense, library]()
        (answer,) = answers.values()
        eager: Any = calls[stage, defense, "torch"]()
        np.testing.assert_allclose(answer, eager.numpy(), atol=1e-4)
