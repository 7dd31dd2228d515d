"""`python -m training report`: figures from the served graphs, and the README's tables from models/results.csv."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from service.attacks import fgsm, pgd
from service.catalog import DEFAULT_DEFENSE, Catalog, FloatArray, Purifier
from service.manifest import Manifest
from training import results
from training.errors import EvaluationError
from training.protocols import HEADLINE_FGSM_EPS, HEADLINE_PGD_EPS
from training.results import Row
from training.served import artefact

# The paper's figures (its tables 1 and 2), in [0, 1]: (undefended, defended).
PAPER = {
    ("mnist", "none", 0.0): (0.9901, None),
    ("mnist", "fgsm", HEADLINE_FGSM_EPS): (0.2648, 0.9209),
    ("mnist", "pgd", HEADLINE_PGD_EPS): (0.0418, 0.9406),
    ("fashion-mnist", "none", 0.0): (0.9122, None),
    ("fashion-mnist", "fgsm", HEADLINE_FGSM_EPS): (0.1417, 0.7393),
    ("fashion-mnist", "pgd", HEADLINE_PGD_EPS): (0.2942, 0.7291),
}
BEYOND_INFORMATION_LIMIT = 0.5
LEAKING_MARGIN = 0.03
_WHOLE_TEST_SET = 10_000
_BEGIN, _END = "<!-- results: made by `python -m training report` -->", "<!-- end of results -->"
_RIGHT, _WRONG = "#1a7f37", "#cf222e"


def write_report(models: Path, readme: Path) -> None:
    """Draw models/figures/rescue-*.png and put the results table between the README's markers.

    Raises:
        EvaluationError: the README lacks the markers, or results.csv lacks a row that the table needs.
    """
    catalog = Catalog.load(models, "cpu")
    folder = models / "figures"
    folder.mkdir(exist_ok=True)
    mpl.rcParams["svg.hashsalt"] = "purifier"
    for dataset in catalog.datasets:
        draw_rescue(catalog, dataset).savefig(folder / f"rescue-{dataset}.png", dpi=110, facecolor="white")
    table = results_table(current_rows(models, catalog.manifest), catalog.datasets)
    text = readme.read_text()
    if _BEGIN not in text or _END not in text:
        raise EvaluationError(f"{readme} lacks the lines {_BEGIN!r} and {_END!r} between which the table goes")
    before, rest = text.split(_BEGIN, 1)
    readme.write_text(before + _BEGIN + "\n\n" + table + "\n" + _END + rest.split(_END, 1)[1])
    print(f"wrote {folder} and the table in {readme}")


def current_rows(models: Path, manifest: Manifest) -> list[Row]:
    """The rows that were measured on the graphs that the manifest names; those of replaced graphs are left out."""
    known = {(dataset, name) for dataset in manifest.datasets for name in (*manifest.defenses(dataset), "none")}
    return [
        row
        for row in results.read(models / results.FILE_NAME)
        if (row.dataset, row.defense) in known and row.artefact == artefact(manifest, row.dataset, row.defense)
    ]


def draw_rescue(catalog: Catalog, dataset: str) -> Figure:
    """The first sample of each class: clean, under FGSM and PGD (oblivious), purified, with the answers."""
    samples = catalog.samples(dataset)
    labels = samples.labels[:10]
    images = (samples.images[:10, None] / 255).astype(np.float32)
    model = catalog.white_box(dataset)
    purifier = catalog.purifier(dataset, DEFAULT_DEFENSE)
    under_fgsm = fgsm(model, images, labels, eps=HEADLINE_FGSM_EPS).adv_images
    under_pgd = pgd(model, images, labels, eps=HEADLINE_PGD_EPS, rng=np.random.default_rng(0)).adv_images
    rows = [
        ("clean", images),
        (f"FGSM ε={HEADLINE_FGSM_EPS}", under_fgsm),
        ("purified", _purified(purifier, under_fgsm)),
        (f"PGD ε={HEADLINE_PGD_EPS}", under_pgd),
        ("purified", _purified(purifier, under_pgd)),
    ]
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    axes = figure.subplots(len(rows), 10)
    names = catalog.class_names(dataset)
    for (title, row), line in zip(rows, axes, strict=True):
        predictions = catalog.classifier(dataset).logits(row).argmax(axis=1)
        for axis, image, prediction, label in zip(line, row, predictions, labels, strict=True):
            axis.imshow(image[0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_xlabel(names[prediction], color=_RIGHT if prediction == label else _WRONG, fontsize=9)
        line[0].set_ylabel(title, fontsize=11)
    figure.suptitle(f"{dataset}: what VGG-16 answers (green right, red wrong); oblivious attacker", fontsize=12)
    return figure


def results_table(rows: list[Row], datasets: tuple[str, ...]) -> str:
    """A Markdown table of the headline rows with the paper's figures beside them.

    Raises:
        EvaluationError: a row is missing.
    """
    lines = [
        "| data set | attack | attacker | test images | undefended (paper) | defended (paper) | paper's architecture |",
        "|---|---|---|---|---|---|---|",
    ]
    for dataset in datasets:
        lines += [_clean_line(rows, dataset)]
        for attack, eps in (("fgsm", HEADLINE_FGSM_EPS), ("pgd", HEADLINE_PGD_EPS)):
            lines.append(_attack_line(rows, dataset, attack, eps))
        lines += _towards_line(rows, dataset)
        lines += _adaptive_line(rows, dataset)
    notes = [
        "",
        f"¹ beyond the information limit: at ε ≥ {BEYOND_INFORMATION_LIMIT} any image can be turned into a plain grey "
        "one, so such a figure tells of this attack only.",
        "² label leaking: a one-step attack's pattern carries the label, and a purifier can learn to read it; compare "
        "the line towards the least likely class.",
    ]
    return "\n".join(lines + notes) + "\n"


def _clean_line(rows: list[Row], dataset: str) -> str:
    none = _find(rows, dataset, "fgsm", HEADLINE_FGSM_EPS, "none")
    ours = _find(rows, dataset, "fgsm", HEADLINE_FGSM_EPS, DEFAULT_DEFENSE)
    baseline = _find(rows, dataset, "fgsm", HEADLINE_FGSM_EPS, "autoencoder_paper")
    paper = PAPER[dataset, "none", 0.0]
    shown = [f"{row.clean_accuracy:.4f}" for row in (none, ours, baseline)]
    return _line(dataset, "none", "–", none.n, shown, paper)


def _attack_line(rows: list[Row], dataset: str, attack: str, eps: float) -> str:
    found = [_find(rows, dataset, attack, eps, name) for name in ("none", DEFAULT_DEFENSE, "autoencoder_paper")]
    name = f"{attack.upper()} {eps:g}" + ("¹" if eps >= BEYOND_INFORMATION_LIMIT else "")
    marks = ["²" if attack == "fgsm" and row.defense != "none" and leaks(rows, row) else "" for row in found]
    shown = [f"{_share(row)}{mark}" for row, mark in zip(found, marks, strict=True)]
    return _line(dataset, name, "oblivious", found[0].n, shown, PAPER[dataset, attack, eps])


def _towards_line(rows: list[Row], dataset: str) -> list[str]:
    attack = "fgsm_least_likely"
    found = [_find(rows, dataset, attack, HEADLINE_FGSM_EPS, name) for name in ("none", DEFAULT_DEFENSE)]
    baseline = _find(rows, dataset, attack, HEADLINE_FGSM_EPS, "autoencoder_paper")
    name = f"FGSM {HEADLINE_FGSM_EPS:g}¹ towards the least likely class"
    return [_line(dataset, name, "oblivious", found[0].n, [_share(row) for row in (*found, baseline)])]


def _adaptive_line(rows: list[Row], dataset: str) -> list[str]:
    row = _find(rows, dataset, "pgd", HEADLINE_PGD_EPS, DEFAULT_DEFENSE, knowledge="adaptive")
    name = f"PGD {HEADLINE_PGD_EPS:g} through the purifier"
    return [_line(dataset, name, "**adaptive**", row.n, ["–", _share(row), "–"])]


def leaks(rows: list[Row], row: Row) -> bool:
    """Check 13: FGSM's accuracy exceeds the clean one, or the one towards the least likely class, by over 3 points."""
    towards = _find(rows, row.dataset, "fgsm_least_likely", row.eps, row.defense)
    return row.robust_accuracy > min(row.clean_accuracy, towards.robust_accuracy) + LEAKING_MARGIN


def _find(rows: list[Row], dataset: str, attack: str, eps: float, defense: str, knowledge: str = "oblivious") -> Row:
    noise = "" if defense == "none" else "zero"
    matches: Callable[[Row], bool] = lambda row: (  # noqa: E731
        (row.dataset, row.attack, row.eps, row.defense, row.knowledge, row.noise)
        == (dataset, attack, eps, defense, knowledge, noise)
    )
    found = [row for row in rows if matches(row)]
    if not found:
        wanted = f"dataset={dataset}, attack={attack}, eps={eps}, defense={defense}, knowledge={knowledge}"
        raise EvaluationError(f"{results.FILE_NAME} has no row with {wanted}; run `python -m training evaluate`")
    return max(found, key=lambda row: row.n)


def _line(
    dataset: str,
    attack: str,
    knowledge: str,
    n: int,
    shown: Sequence[str],
    paper: tuple[float | None, float | None] = (None, None),
) -> str:
    references = [*paper, None]
    cells = [
        text if reference is None else f"{text} ({reference:.4f})"
        for text, reference in zip(shown, references, strict=True)
    ]
    return "| " + " | ".join([dataset, attack, knowledge, f"{n:,}", *cells]) + " |"


def _share(row: Row) -> str:
    """The accuracy, with its 95 % interval where it comes from a part of the test set."""
    interval = "" if row.n >= _WHOLE_TEST_SET else f" [{row.ci_low:.3f}, {row.ci_high:.3f}]"
    return f"{row.robust_accuracy:.4f}{interval}"


def _purified(purifier: Purifier | None, images: FloatArray) -> FloatArray:
    return images if purifier is None else purifier.purify(images)
