"""Markdown tables from the rows. A cell without a row says so; a row on part of the test set shows its interval."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

from service.catalog import DEFAULT_DEFENSE, NO_DEFENSE
from training import paper
from training.metrics import wilson_interval
from training.protocols import (
    FGSM_EPS,
    HEADLINE_FGSM_EPS,
    HEADLINE_PGD_EPS,
    INFORMATION_LIMIT,
    PAPER_DEFENSE,
    PGD_EPS,
    PGD_STEPS,
    zero_noise,
)
from training.results import Row, largest, select, worst
from training.row_checks import leaks_label

NOT_MEASURED = "–"
NOTES = (
    f"¹ beyond the information limit: at ε ≥ {INFORMATION_LIMIT:g} any image can be turned into a plain grey one, so "
    "such a figure tells of this attack only.",
    "² label leaking: a one-step attack's pattern carries the label, and a purifier can learn to read it; compare the "
    "line towards the least likely class.",
)
_WHOLE_TEST_SET = 10_000
_FGSM, _LEAST_LIKELY, _PGD = (
    ("fgsm", HEADLINE_FGSM_EPS),
    ("fgsm_least_likely", HEADLINE_FGSM_EPS),
    ("pgd", HEADLINE_PGD_EPS),
)
_AUTO_PGD, _WORST = ("apgd_ce", HEADLINE_PGD_EPS), ("worst_case", HEADLINE_PGD_EPS)
TITLES = {
    "fgsm": "FGSM {:g}¹",
    "fgsm_least_likely": "FGSM {:g}¹ towards the least likely class",
    "pgd": "PGD {:g}",
    "apgd_ce": "Auto-PGD {:g}",
    "worst_case": "worst case of all attacks within {:g}",
}
# What is shown of attackers at the headline budget of PGD, strongest knowledge first.
_INFORMED = {
    "pgd": "PGD",
    "apgd_ce": "Auto-PGD on cross-entropy",
    "apgd_dlr": "Auto-PGD on the difference of logits ratio",
    "pgd_identity": "PGD, backward as if the purifier changed nothing (BPDA)",
    "pgd_transfer": "PGD images made through the paper's architecture",
    "square": "Square, by queries alone",
    "random_noise": "random noise of ±ε",
    "worst_case": "worst case of all attacks within ε, image by image",
}
_KNOWLEDGE = ("adaptive", "black_box", "oblivious")


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "".join("| " + " | ".join(line) + " |\n" for line in [header, ["---"] * len(header), *lines])


def share(row: Row | None) -> str:
    """The accuracy under attack; with interval and n where it comes from a part of the test set."""
    if row is None:
        return NOT_MEASURED
    part = "" if row.n >= _WHOLE_TEST_SET else f" [{row.ci_low:.3f}, {row.ci_high:.3f}] (n {row.n:,})"
    return f"{row.robust_accuracy:.4f}{part}"


def find(
    rows: Sequence[Row],
    dataset: str,
    attack: tuple[str, float],
    defense: str,
    knowledge: str = "oblivious",
    noise: str | None = None,
) -> Row | None:
    """The row of the most images for an attack at its eps, by default as the defense is served without a seed."""
    wanted = {
        "dataset": dataset,
        "defense": defense,
        "noise": zero_noise(defense).noise if noise is None else noise,
        "norm": "linf",
        "eps": attack[1],
    }
    steps = {"steps": PGD_STEPS} if attack[0] == "pgd" else {}
    if attack[0] == "worst_case":
        return worst(rows, knowledge=knowledge, **wanted)
    found = select(rows, attack=attack[0], knowledge=knowledge, **steps, **wanted)
    if attack[1] == 0:  # which is no attack
        found = select(rows, attack="none", **wanted) + found
    return largest(found)


def summary(rows: Sequence[Row], datasets: Sequence[str]) -> str:
    """The README's table: the headline cells, the paper's beside ours, and the attacker's knowledge."""
    lines = []
    for dataset in datasets:
        lines += _against_the_paper(rows, dataset)
        through = ((attack, f"{TITLES[attack[0]]} through the purifier") for attack in (_PGD, _AUTO_PGD))
        for attack, title in (*through, (_WORST, TITLES["worst_case"])):
            ours, theirs = (find(rows, dataset, attack, name, "adaptive") for name in (DEFAULT_DEFENSE, PAPER_DEFENSE))
            cells = _interleaved([NOT_MEASURED, share(ours), share(theirs)], (None, None))
            lines.append([dataset, title.format(attack[1]), "**adaptive**", *cells])
    return table(_HEADER, lines) + "\n" + "\n\n".join(NOTES) + "\n"


def undefended(rows: Sequence[Row], datasets: Sequence[str], attack: str) -> str:
    """Table 1(a) for FGSM, 1(b) for PGD: the paper's column beside ours, and what the purifier makes of it."""
    header = ["ε"]
    for dataset in datasets:
        header += [f"{dataset}: the paper", "ours, undefended", "ours, defended, oblivious", "ours, defended, adaptive"]
    columns = ((NO_DEFENSE, "oblivious"), (DEFAULT_DEFENSE, "oblivious"), (DEFAULT_DEFENSE, "adaptive"))
    lines = []
    for eps in FGSM_EPS if attack == "fgsm" else (0.0, *PGD_EPS):
        line = [f"{eps:g}¹" if eps >= INFORMATION_LIMIT else f"{eps:g}"]
        for dataset in datasets:
            line.append(_reference(paper.UNDEFENDED.get((dataset, attack), {}).get(eps)))
            line += [share(find(rows, dataset, (attack, eps), *column)) for column in columns]
        lines.append(line)
    return table(header, lines)


def defended(rows: Sequence[Row], datasets: Sequence[str]) -> str:
    """Table 2: ours, the paper's figures, and the paper's architecture as we trained it."""
    return table(_HEADER, [line for dataset in datasets for line in _against_the_paper(rows, dataset)])


def informed(rows: Sequence[Row], datasets: Sequence[str], masked: Sequence[str]) -> str:
    """Every attack on the shipped purifier at the headline budget of PGD; data sets in `masked` failed check 9."""
    lines = []
    for dataset in datasets:
        shown = {}
        own = select(rows, dataset=dataset, defense=DEFAULT_DEFENSE, norm="linf", eps=HEADLINE_PGD_EPS)
        for row in sorted(own, key=lambda row: (row.n, -row.seed)):
            if row.attack in _INFORMED and (row.attack != "pgd" or row.steps == PGD_STEPS):
                shown[_KNOWLEDGE.index(row.knowledge), list(_INFORMED).index(row.attack), row.noise, row.eot] = row
        for _, row in sorted(shown.items()):
            flagged = dataset in masked and (row.attack, row.knowledge, row.noise) == ("pgd", "adaptive", "zero")
            cell = share(row) + (" **masked**" if flagged else "")
            looks = str(row.eot) if row.attack.startswith(("pgd", "apgd")) else NOT_MEASURED
            lines.append([dataset, _INFORMED[row.attack], row.knowledge, row.noise, looks, cell])
    return table(["data set", "attack, ε = 0.15", "attacker", "latent noise", "looks a gradient", "defended"], lines)


def ablation(rows: Sequence[Row], datasets: Sequence[str]) -> str:
    """The shipped purifier and the paper's architecture, with the latent noise zero, fixed and drawn."""
    header = ["data set", "purifier", "latent noise", "clean", *_columns(), "PGD 0.15, adaptive"]
    lines = []
    for dataset in datasets:
        for defense in (DEFAULT_DEFENSE, PAPER_DEFENSE):
            for noise in ("zero", "fixed", "drawn"):
                own = select(rows, dataset=dataset, defense=defense, noise=noise)
                if own:
                    cells = [_drawn(own, attack) for attack in (("none", 0.0), _FGSM, _LEAST_LIKELY, _PGD)]
                    adaptive = [row for row in own if row.knowledge == "adaptive"]
                    lines.append([dataset, defense, noise, *cells, _drawn(adaptive, _PGD)])
    return table(header, lines)


def mixes(rows: Sequence[Row], ablations: Sequence[Row], datasets: Sequence[str]) -> str:
    """The cross-attack matrix: the shipped purifier, and ones of other training seeds and mixes of attacks, by attack.

    Purifiers of one name that differ in their weights, as those of several seeds do, share a line: mean and standard
    deviation.
    """
    cells = ((_FGSM, "oblivious"), (_LEAST_LIKELY, "oblivious"), (_PGD, "oblivious"), (_PGD, "adaptive"))
    lines = []
    for dataset in datasets:
        others = select(ablations, dataset=dataset)
        shipped = select(rows, dataset=dataset, defense=DEFAULT_DEFENSE)
        groups = [(f"{DEFAULT_DEFENSE}, as shipped", DEFAULT_DEFENSE, [shipped])]
        for defense in sorted({row.defense for row in others}):
            own = select(others, defense=defense)
            groups.append((defense, defense, [select(own, artefact=one) for one in sorted({r.artefact for r in own})]))
        for title, defense, purifiers in groups:
            clean = [largest(of_one, attack="none", noise="zero") for of_one in purifiers]
            found = [
                [find(of_one, dataset, attack, defense, knowledge) for of_one in purifiers]
                for attack, knowledge in cells
            ]
            columns = [[row for row in column if row is not None] for column in (clean, *found)]
            lines.append([dataset, title, *(_spread(column, "seeds") for column in columns)])
    return table(["data set", "purifier", "clean", *_columns(), "PGD 0.15, adaptive"], lines)


_HEADER = ("data set", "attack", "attacker", "undefended: ours", "the paper's", "defended: ours", "the paper's",
           "the paper's architecture, trained by us")  # fmt: skip


def _columns() -> list[str]:
    return [f"{TITLES[name].format(eps)}, oblivious" for name, eps in (_FGSM, _LEAST_LIKELY, _PGD)]


def _against_the_paper(rows: Sequence[Row], dataset: str) -> list[list[str]]:
    names = (NO_DEFENSE, DEFAULT_DEFENSE, PAPER_DEFENSE)
    clean = [clean_share(rows, dataset, name) for name in names]
    reference = paper.UNDEFENDED.get((dataset, "fgsm"), {}).get(0.0)
    lines = [[dataset, "none", NOT_MEASURED, *_interleaved(clean, (reference, None))]]
    for attack in (_FGSM, _LEAST_LIKELY, _PGD):
        found = [find(rows, dataset, attack, name) for name in names]
        cells = [
            share(row)
            + ("²" if row and attack == _FGSM and row.defense != NO_DEFENSE and leaks_label(rows, row) else "")
            for row in found
        ]
        theirs = paper.UNDEFENDED.get((dataset, attack[0]), {}).get(attack[1]), paper.DEFENDED.get((dataset, attack[0]))
        lines.append([dataset, TITLES[attack[0]].format(attack[1]), "oblivious", *_interleaved(cells, theirs)])
    return lines


def clean_share(rows: Sequence[Row], dataset: str, defense: str) -> str:
    """Every row holds the clean accuracy of its images; the one of the most images counts."""
    row = largest(rows, dataset=dataset, defense=defense, noise=zero_noise(defense).noise)
    if row is None:
        return NOT_MEASURED
    low, high = wilson_interval(row.clean_accuracy, row.n)
    return share(replace(row, robust_accuracy=row.clean_accuracy, ci_low=low, ci_high=high))


def _drawn(rows: Sequence[Row], attack: tuple[str, float]) -> str:
    """One cell for rows that differ in their noise seed; an adaptive attacker's is that of the most looks, whatever the
    number of images.
    """
    steps = {"steps": PGD_STEPS} if attack[0] == "pgd" else {}
    knowledge = "adaptive" if rows and all(row.knowledge == "adaptive" for row in rows) else "oblivious"
    own = select(rows, attack=attack[0], eps=attack[1], knowledge="" if attack[0] == "none" else knowledge, **steps)
    looks, n = max(((row.eot, row.n) for row in own), default=(1, 0))
    cell = _spread([row for row in own if (row.eot, row.n) == (looks, n)], "draws")
    return cell if looks == 1 else f"{cell}, {looks} looks a gradient"


def _spread(rows: Sequence[Row], of: str) -> str:
    """One row's cell, or mean and standard deviation of several, on as many images each."""
    if len(rows) < 2:
        return share(rows[0] if rows else None)
    n = min(row.n for row in rows)
    shares = [row.robust_accuracy for row in rows]
    part = "" if n >= _WHOLE_TEST_SET else f", n {n:,}"
    return f"{statistics.fmean(shares):.4f} ± {statistics.stdev(shares):.4f} ({len(rows)} {of}{part})"


def _reference(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{value:.4f}"


def _interleaved(cells: Sequence[str], references: tuple[float | None, float | None]) -> list[str]:
    """Ours undefended and defended, the paper's figure after each, and ours on the paper's architecture."""
    first, second, third = cells
    return [first, _reference(references[0]), second, _reference(references[1]), third]
