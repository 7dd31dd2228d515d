from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service import manifest as manifests
from service.manifest import Manifest
from tests.training.rows import LATENCY, ROW
from training import checks, confusions, latencies, pictures, report, results
from training.errors import EvaluationError
from training.outcome import Outcome
from training.results import Row
from training.served import artefact

MARKERS = "".join(f"{begin}\n\nold\n{end}\n" for begin, end in (report._RESULTS, report._ROBUST, report._TABLE_3))


@pytest.fixture
def manifest(models: Path) -> Manifest:
    return manifests.read(models)


def _rows(manifest: Manifest) -> list[Row]:
    rows = []
    for defense, noise in (("none", ""), ("autoencoder", "zero")):
        of = replace(ROW, defense=defense, noise=noise, artefact=artefact(manifest, "mnist", defense))
        rows += [of, replace(of, eps=0.3), replace(of, attack="none", eps=0.0, knowledge="", robust_accuracy=0.99)]
    return rows


@pytest.fixture
def measured(models: Path, manifest: Manifest) -> list[Row]:
    """Rows, confusions and a failed masking check in the models folder."""
    rows = _rows(manifest)
    results.merge(models / "results.csv", rows)
    counts = {confusions.identity(row): np.diag([1_000] * 10) for row in rows}
    confusions.write(models / "confusions.csv", counts, rows)
    served = artefact(manifest, "mnist", "autoencoder")
    checks.save(models, [checks._check("mnist", 9, Outcome("failed", "Square leaves less."), served)])
    return rows


def test_running_it_twice_gives_the_same_bytes(
    models: Path, measured: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "BUDGETS", {"fgsm": (0.0, 0.6), "pgd": (0.0, 0.15)})
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{MARKERS}after\n")
    timed = [replace(LATENCY, p50_ms=2.0), replace(LATENCY, stage="classify", defense="none")]
    latencies.merge(models / "latency.csv", [LATENCY, *timed])
    (models / "notes.md").write_text("## Log\n\nWhat did not work.\n")
    report.write_report(models, readme)
    files = [readme, models / "REPORT.md", *sorted((models / "figures").iterdir())]
    first = [path.read_bytes() for path in files]
    report.write_report(models, readme)
    assert [path.read_bytes() for path in files] == first
    drawn = {path.name for path in files}
    figures = ("accuracy", "table3", "attacked-fgsm", "attacked-pgd", "rescue-mnist", "confusion-mnist")
    assert drawn >= {f"{name}.{kind}" for name in figures for kind in ("png", "svg")}
    text = (models / "REPORT.md").read_text()
    assert "{{" not in text
    assert text.endswith("What did not work.\n")
    assert "- Check 9, mnist: failed. Square leaves less." in text
    assert readme.read_text().startswith("before\n")
    assert readme.read_text().endswith("after\n")
    assert "old" not in readme.read_text()


def test_a_figure_without_counts_is_not_shown(models: Path, measured: list[Row], manifest: Manifest) -> None:
    text = report.report(models, manifest, measured, ["mnist"])
    assert "figures/confusion-mnist.png" in text
    assert "No counts yet" in report.report(models, manifest, measured, [])


def test_a_readme_without_markers_is_left_alone(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("nothing here")
    with pytest.raises(EvaluationError, match="lacks the lines"):
        report.write_between(readme, report._RESULTS, "table")
    assert readme.read_text() == "nothing here"


def test_checks_of_replaced_graphs_are_not_shown(models: Path, measured: list[Row], manifest: Manifest) -> None:
    stale = checks._check("mnist", 9, Outcome("failed", "Square leaves less."), "mnist/classifier@0")
    checks.save(models, [stale])
    text = report.report(models, manifest, measured, [])
    assert "Square leaves less" not in text
    assert "**not run**" in text


def test_ablations_stand_on_the_shipped_classifier_and_are_not_shipped(
    models: Path, manifest: Manifest, tmp_path: Path
) -> None:
    classifier = artefact(manifest, "mnist", "none")
    other_seed = replace(ROW, artefact=f"{classifier}+mnist/autoencoder@000000000000")
    other_mix = replace(ROW, defense="autoencoder_fgsm", artefact=f"{classifier}+mnist/autoencoder_fgsm@111111111111")
    other_classifier = replace(ROW, artefact="mnist/classifier@222222222222+mnist/autoencoder@333333333333")
    folder = tmp_path / "other"
    folder.mkdir()
    results.merge(folder / "results.csv", [*_rows(manifest), other_seed, other_mix, other_classifier])
    report.collect(models, manifest, [folder])
    assert set(results.read(models / "ablations.csv")) == {other_seed, other_mix}
    report.collect(models, manifest, [])
    assert set(results.read(models / "ablations.csv")) == {other_seed, other_mix}
