from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from training import results
from training.errors import EvaluationError
from training.metrics import wilson_interval
from training.report import leaks, results_table
from training.results import Row

ROW = Row(
    dataset="mnist",
    classifier="vgg16",
    defense="autoencoder",
    attack="fgsm",
    norm="linf",
    eps=0.6,
    knowledge="oblivious",
    noise="zero",
    steps=1,
    step_size=0.6,
    restarts=1,
    eot=1,
    seed=0,
    split="test",
    n=10_000,
    clean_accuracy=0.99,
    robust_accuracy=0.95,
    ci_low=0.94,
    ci_high=0.96,
    artefact="a",
    precision="fp32",
    runtime="onnxruntime",
    device="cpu",
    commit="c",
)


def _table_rows() -> list[Row]:
    rows = []
    for defense, noise in (("none", ""), ("autoencoder", "zero"), ("autoencoder_paper", "zero")):
        for attack, eps in (("fgsm", 0.6), ("fgsm_least_likely", 0.6), ("pgd", 0.15)):
            rows.append(replace(ROW, defense=defense, noise=noise, attack=attack, eps=eps))
    return [*rows, replace(ROW, attack="pgd", eps=0.15, knowledge="adaptive", n=1_000, robust_accuracy=0.01)]


def test_rows_survive_the_file_and_a_new_measurement_replaces_the_old(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    other = replace(ROW, eps=0.3)
    results.merge(path, [ROW, other])
    newer = replace(ROW, robust_accuracy=0.5, commit="d")
    results.merge(path, [newer])
    assert sorted(results.read(path), key=lambda row: row.eps) == [other, newer]


def test_a_file_with_other_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(EvaluationError, match="has columns"):
        results.read(path)


def test_a_row_with_a_wrong_value_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    results.merge(path, [ROW])
    path.write_text(path.read_text().replace("10000", "many"))
    with pytest.raises(EvaluationError, match="wrong value"):
        results.read(path)


def test_the_wilson_interval_matches_the_textbook() -> None:
    low, high = wilson_interval(0.5, 100)
    assert (round(low, 4), round(high, 4)) == (0.4038, 0.5962)
    assert wilson_interval(1.0, 100)[1] == 1.0


def test_the_table_sets_the_papers_figures_and_the_attackers_knowledge_beside_ours() -> None:
    table = results_table(_table_rows(), ("mnist",))
    assert "| mnist | FGSM 0.6¹ | oblivious | 10,000 | 0.9500 (0.2648) | 0.9500 (0.9209) | 0.9500 |" in table
    assert "| mnist | PGD 0.15 through the purifier | **adaptive** | 1,000 | – | 0.0100 [0.940, 0.960] | – |" in table


def test_a_missing_row_is_an_error_that_says_how_to_get_it() -> None:
    rows = [row for row in _table_rows() if row.knowledge != "adaptive"]
    with pytest.raises(EvaluationError, match="knowledge=adaptive; run `python -m training evaluate`"):
        results_table(rows, ("mnist",))


@pytest.mark.parametrize(
    ("clean", "fgsm", "towards", "leaking"),
    [(0.99, 0.95, 0.95, False), (0.87, 0.91, 0.91, True), (0.95, 0.91, 0.87, True), (0.95, 0.91, 0.89, False)],
)
def test_label_leaking_is_told_by_clean_accuracy_or_the_least_likely_class(
    clean: float, fgsm: float, towards: float, leaking: bool
) -> None:
    row = replace(ROW, clean_accuracy=clean, robust_accuracy=fgsm)
    other = replace(row, attack="fgsm_least_likely", robust_accuracy=towards)
    assert leaks([row, other], row) is leaking
    if leaking:
        rows = [row, other] + [item for item in _table_rows() if item.defense != "autoencoder" or item.attack == "pgd"]
        assert f"{fgsm:.4f}² (0.9209)" in results_table(rows, ("mnist",))
