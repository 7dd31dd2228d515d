"""The purifier that was trained against attackers who know it beside the shipped one, as a table. Knows no models."""

from __future__ import annotations

from collections.abc import Sequence

from service.catalog import DEFAULT_DEFENSE, NO_DEFENSE
from training import protocols
from training.autoattack import NAME as AUTOATTACK
from training.protocols import HEADLINE_FGSM_EPS, HEADLINE_PGD_EPS
from training.results import Row
from training.robust_recipes import ROBUST_DEFENSE
from training.tables import NOT_MEASURED, clean_share, find, share, table

DEFENSES = (NO_DEFENSE, DEFAULT_DEFENSE, ROBUST_DEFENSE)
HEADER = ("data set", "attack", "attacker", *DEFENSES)
_WHITE_BOX = {
    "fgsm": "FGSM {:g}",
    "pgd": "PGD {:g}",
    "apgd_ce": "Auto-PGD {:g}, cross-entropy",
    "apgd_dlr": "Auto-PGD {:g}, logits ratio",
    "pgd_identity": "PGD {:g}, backward as if the purifier changed nothing (BPDA)",
    AUTOATTACK: "AutoAttack {:g}",
    "worst_case": "worst case of all attacks within {:g}",
}
_BLACK_BOX = {
    "square": "Square {:g}",
    "pgd_transfer": "PGD {:g} made through the other purifier",
    "random_noise": "random noise of ±{:g}",
}
# What the README shows of an attacker who knows.
_HEADLINES = ("pgd", "apgd_ce", AUTOATTACK, "worst_case")


def written(rows: Sequence[Row], datasets: Sequence[str]) -> str:
    """Every attack on the robust purifier, and the same on the shipped one where it was measured."""
    return _table(rows, datasets, tuple(_WHITE_BOX), tuple(_BLACK_BOX))


def summary(rows: Sequence[Row], datasets: Sequence[str]) -> str:
    """The headline attacks alone."""
    return _table(rows, datasets, _HEADLINES, ())


def _table(rows: Sequence[Row], datasets: Sequence[str], white_box: Sequence[str], black_box: Sequence[str]) -> str:
    lines = []
    for dataset in datasets:
        eps = protocols.budget(dataset, ROBUST_DEFENSE)
        lines.append([dataset, "none", NOT_MEASURED, *(clean_share(rows, dataset, name) for name in DEFENSES)])
        for attack in (("fgsm", HEADLINE_FGSM_EPS), ("pgd", HEADLINE_PGD_EPS), ("pgd", eps)):
            title = _WHITE_BOX[attack[0]].format(attack[1]) + ("¹" if attack[1] == HEADLINE_FGSM_EPS else "")
            lines.append(
                [dataset, title, "oblivious", *(share(find(rows, dataset, attack, name)) for name in DEFENSES)]
            )
        lines += _known(rows, dataset, eps, {name: _WHITE_BOX[name] for name in white_box}, "adaptive")
        lines += _known(rows, dataset, eps, {name: _BLACK_BOX[name] for name in black_box}, "black_box")
    return table(HEADER, lines)


def _known(rows: Sequence[Row], dataset: str, eps: float, titles: dict[str, str], knowledge: str) -> list[list[str]]:
    """A line for each attack that was measured on the robust purifier; nobody undefended has a purifier to know."""
    lines = []
    for attack, title in titles.items():
        found = [find(rows, dataset, (attack, eps), name, knowledge) for name in DEFENSES[1:]]
        if found[-1] is not None:
            lines.append([dataset, title.format(eps), f"**{knowledge}**", NOT_MEASURED, *map(share, found)])
    return lines
