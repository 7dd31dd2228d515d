"""`python -m training report`: figures, models/REPORT.md and the README's table, from the rows and the served graphs.

Running it again on the same files gives the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from service.catalog import DEFAULT_DEFENSE, NO_DEFENSE, Catalog
from service.manifest import Manifest
from training import (
    checks,
    confusions,
    costs,
    costs_figure,
    curves,
    descent_curve,
    drawing,
    latencies,
    matrix,
    pictures,
    precisions,
    results,
    robust_table,
    tables,
)
from training.checks import Check
from training.errors import EvaluationError
from training.latencies import Latency
from training.outcome import FAILED, NOT_RUN, PASSED
from training.results import Row
from training.robust_recipes import ROBUST_DEFENSE
from training.served import artefact, current_rows, is_current

ABLATIONS = "ablations.csv"
_TEMPLATE = Path(__file__).with_name("report_template.md")
_NOTES = "notes.md"
_RESULTS = ("<!-- results: made by `python -m training report` -->", "<!-- end of results -->")
_TABLE_3 = ("<!-- table 3: made by `python -m training report` -->", "<!-- end of table 3 -->")
_MASKING = 9
_ROBUST = ("<!-- robust: made by `python -m training report` -->", "<!-- end of robust -->")


def write_report(models: Path, readme: Path, ablations: Sequence[Path] = ()) -> None:
    """Draw models/figures, write models/REPORT.md, and put the summary between the README's markers.

    `ablations` are other models folders, with purifiers on the same classifiers: the rows of their results.csv go to
    models/ablations.csv first.

    Raises:
        EvaluationError: the README lacks the markers.
    """
    catalog = Catalog.load(models, "cpu")
    manifest = catalog.manifest
    collect(models, manifest, ablations)
    rows = current_rows(models, manifest)
    in_linf = results.select(rows, norm="linf", precision="fp32")
    figures = models / "figures"
    figures.mkdir(exist_ok=True)
    confused = _draw(catalog, rows, figures)
    (models / "REPORT.md").write_text(report(models, manifest, rows, confused))
    write_between(readme, _RESULTS, tables.summary(in_linf, manifest.datasets))
    where = f"{models.name}/{latencies.FILE_NAME}"
    write_between(readme, _TABLE_3, costs.written(in_linf, _timings(models), manifest.datasets, where))
    robust_in = [dataset for dataset in manifest.datasets if ROBUST_DEFENSE in manifest.defenses(dataset)]
    write_between(readme, _ROBUST, robust_table.summary(in_linf, robust_in))
    print(f"wrote {models / 'REPORT.md'}, {figures} and the tables in {readme}")


def collect(models: Path, manifest: Manifest, folders: Sequence[Path]) -> None:
    """Copy what other models folders measured on purifiers that are not shipped; drop rows on replaced classifiers."""
    if not folders:
        return
    found = [row for folder in folders for row in results.read(folder / results.FILE_NAME)]
    results.merge(
        models / ABLATIONS, [row for row in found if _is_ablation(manifest, row)], keep=partial(_is_ablation, manifest)
    )


def report(models: Path, manifest: Manifest, rows: Sequence[Row], confused: Sequence[str]) -> str:
    """The text of models/REPORT.md; `confused` names the data sets that have a confusion figure."""
    datasets = manifest.datasets
    every_precision, zoo = rows, results.select(rows, precision="fp32")
    rows = results.select(zoo, norm="linf")  # an eps means another thing in another norm
    found = [dataset for dataset in datasets if matrix.is_measured(zoo, dataset)]
    ablations = [row for row in results.read(models / ABLATIONS) if _is_ablation(manifest, row)]
    current = [
        check for check in checks.read(models / checks.FILE_NAME)
        if check.dataset in datasets
        and check.defense in manifest.defenses(check.dataset)
        and check.artefact == artefact(manifest, check.dataset, check.defense)
    ]  # fmt: skip
    shipped, robust = ([check for check in current if check.defense == name]
                       for name in (DEFAULT_DEFENSE, ROBUST_DEFENSE))  # fmt: skip
    masked = [check.dataset for check in shipped if (check.number, check.verdict) == (_MASKING, FAILED)]
    robust_in = [dataset for dataset in datasets if ROBUST_DEFENSE in manifest.defenses(dataset)]
    notes = models / _NOTES
    parts = {
        "table 1a": tables.undefended(rows, datasets, "fgsm"),
        "table 1b": tables.undefended(rows, datasets, "pgd"),
        "table 2": tables.defended(rows, datasets),
        "table 3": costs.written(rows, _timings(models), datasets, latencies.FILE_NAME),
        "figure 3": "![Accuracy against the time to purify](figures/table3.png)" if _timings(models) else "",
        "notes": "\n\n".join(tables.NOTES),
        "table informed": tables.informed(rows, datasets, masked),
        "figure descent": _descent(models),
        "table robust": robust_table.written(rows, robust_in),
        "table robust checks": _checks(robust, robust_in, checks.OF_THE_INFORMED),
        "table zoo": _zoo(zoo, found),
        "table precision": precisions.written(every_precision, datasets),
        "table ablation": tables.ablation(rows, datasets),
        "table mixes": tables.mixes(rows, ablations, datasets),
        "table checks": _checks(shipped, datasets),
        "figures rescue": _images("rescue", datasets),
        "figures confusion": _images("confusion", confused) or "No counts yet.",
        "log": notes.read_text() if notes.exists() else "",
    }
    return re.sub(r"\{\{(.+?)\}\}", lambda found: parts[found[1]].strip(), _TEMPLATE.read_text()).strip() + "\n"


def write_between(readme: Path, markers: tuple[str, str], table: str) -> None:
    """Put a table between two lines of the README.

    Raises:
        EvaluationError: the README lacks the lines.
    """
    text, (begin, end) = readme.read_text(), markers
    if begin not in text or end not in text:
        raise EvaluationError(f"{readme} lacks the lines {begin!r} and {end!r} between which a table goes")
    before, rest = text.split(begin, 1)
    readme.write_text(before + begin + "\n\n" + table + "\n" + end + rest.split(end, 1)[1])


def _timings(models: Path) -> list[Latency]:
    return latencies.read(models / latencies.FILE_NAME)


def _draw(catalog: Catalog, rows: Sequence[Row], folder: Path) -> list[str]:
    """All figures; returns the data sets that have counts for a confusion figure."""
    rows = results.select(rows, precision="fp32")
    found = [dataset for dataset in catalog.datasets if matrix.is_measured(rows, dataset)]
    if found:
        drawing.save(partial(matrix.drawn, rows, found), folder, "zoo")
    if points := descent_curve.read(catalog.folder / descent_curve.FILE_NAME):
        drawing.save(partial(descent_curve.drawn, points), folder, "descent")
    rows = results.select(rows, norm="linf")
    drawing.save(partial(curves.accuracy_against_eps, rows, catalog.datasets), folder, "accuracy")
    if timings := _timings(catalog.folder):
        drawing.save(partial(costs_figure.drawn, rows, timings, catalog.datasets), folder, "table3")
    for attack in pictures.BUDGETS:
        drawing.save(partial(pictures.attacked_over_eps, catalog, attack), folder, f"attacked-{attack}")
    counts = confusions.read(catalog.folder / confusions.FILE_NAME)
    confused = []
    for dataset in catalog.datasets:
        drawing.save(partial(pictures.rescue, catalog, dataset), folder, f"rescue-{dataset}")
        panels = curves.confused(rows, counts, dataset)
        if panels:
            draw = partial(curves.confusion, panels, dataset, catalog.class_names(dataset))
            drawing.save(draw, folder, f"confusion-{dataset}")
            confused.append(dataset)
    return confused


def _descent(models: Path) -> str:
    if not descent_curve.read(models / descent_curve.FILE_NAME):
        return "Not measured yet."
    return f"![Accuracy over steps and restarts](figures/descent.png)\n\n[The points]({descent_curve.FILE_NAME})."


def _zoo(rows: Sequence[Row], datasets: Sequence[str]) -> str:
    if not datasets:
        return "Not measured yet."
    return matrix.written(rows, datasets) + "\n![Every attack side by side](figures/zoo.png)"


def _images(kind: str, datasets: Sequence[str]) -> str:
    return "\n".join(f"![{kind}, {dataset}](figures/{kind}-{dataset}.png)" for dataset in datasets)


def _checks(found: Sequence[Check], datasets: Sequence[str], numbers: Sequence[int] = tuple(checks.RULES)) -> str:
    """Verdicts of checks, by default of all, and what was found where one did not pass."""
    if not datasets:
        return "Not measured yet."
    known = {(check.dataset, check.number): check for check in found}
    lines, reasons = [], []
    for number in numbers:
        name, rule = checks.RULES[number]
        cells = []
        for dataset in datasets:
            check = known.get((dataset, number))
            verdict = check.verdict if check else NOT_RUN
            cells.append(verdict if verdict == PASSED else f"**{verdict}**")
            if check and verdict != PASSED:
                reasons.append(f"- Check {number}, {dataset}: {verdict}. {check.why}")
        lines.append([str(number), f"{name}: {rule}", *cells])
    return tables.table(["#", "check", *datasets], lines) + "\n" + "\n".join(reasons)


def _is_ablation(manifest: Manifest, row: Row) -> bool:
    """A purifier that is not the shipped one, in front of the shipped classifier."""
    if row.dataset not in manifest.datasets or row.defense == NO_DEFENSE or is_current(manifest, row):
        return False
    return row.artefact.startswith(artefact(manifest, row.dataset, NO_DEFENSE) + "+")
