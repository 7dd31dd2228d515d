"""The checks that rows answer by themselves. Knows no models and no files; rows are those of one data set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations

from service.attacks import effective_reach
from service.catalog import NO_DEFENSE
from training.outcome import Finding, Outcome, outcome
from training.protocols import DOUBLE_STEPS, HEADLINE_FGSM_EPS, HEADLINE_PGD_EPS, PGD_STEPS, zero_noise
from training.results import Row, largest, select, worst
from training.robust_recipes import ROBUST_DEFENSE

CHANCE = 0.1
LEAKING_MARGIN = 0.03
_REACH = 2.5
_ONE_POINT = 0.01
_RIVALS = (("pgd", "oblivious"), ("pgd_identity", "adaptive"), ("pgd_transfer", "black_box"), ("square", "black_box"),
           ("random_noise", "black_box"))  # fmt: skip
Named = tuple[str, Sequence[Row]]
_RUN = "run `python -m training evaluate --protocol {}`"


def standard_error(*rows: Row) -> float:
    """The standard error of a row's accuracy, or of the difference of two that stand on different images."""
    return math.sqrt(sum(row.robust_accuracy * (1 - row.robust_accuracy) / row.n for row in rows))


def reach(rows: Sequence[Row]) -> Outcome:
    """Check 3: steps x step_size of at least 2.5 eps."""
    walked = [row for row in rows if row.attack.startswith("pgd")]
    short = [row for row in walked if row.steps * row.step_size < _REACH * row.eps - row.steps * 1e-6]
    if walked and not short:
        return outcome([Finding(True, f"{len(walked)} rows of PGD walk {_REACH:g} eps")])
    return outcome(
        Finding(False, f"{name(row)} reaches {effective_reach(row.eps, row.steps, row.step_size):g} only")
        for row in short
    )


def monotone(rows: Sequence[Row]) -> Outcome:
    """Check 4: on the same images accuracy does not rise with eps by more than one standard error."""
    curves: dict[tuple[object, ...], dict[float, Row]] = {}
    for row in sorted(rows, key=lambda row: row.eps):
        if row.attack not in {"none", "worst_case"}:
            curve = (row.attack, row.defense, row.knowledge, row.noise, row.steps, row.eot, row.seed, row.n)
            curves.setdefault(curve, {})[row.eps] = row
    risen = []
    for points in curves.values():
        pairs = list(combinations(points.values(), 2))
        steep = [(low, high) for low, high in pairs if _rise(low, high) > standard_error(low, high)]
        if steep:  # one sentence a curve, of the two points that are farthest apart
            low, high = max(steep, key=lambda pair: _rise(*pair))
            text = f"{name(high)} leaves {high.robust_accuracy:.4f}, eps {low.eps:g} {low.robust_accuracy:.4f}"
            risen.append(Finding(False, f"{text}, n {high.n:,}"))
    swept = [points for points in curves.values() if len(points) > 1]
    return outcome(risen or [Finding(True, f"{len(swept)} curves fall")] * bool(swept))


def _rise(low: Row, high: Row) -> float:
    return high.robust_accuracy - low.robust_accuracy


def unbounded(rows: Sequence[Row], defense: str) -> Outcome:
    """Check 5: PGD at eps 1 leaves nothing undefended, and at most chance through the pipeline."""
    alone = largest(rows, attack="pgd", eps=1.0, defense=NO_DEFENSE)
    through = largest(rows, attack="pgd", eps=1.0, defense=defense, knowledge="adaptive")
    return outcome(
        [
            _at_most(alone, 0.0, "PGD at eps 1, undefended", "paper"),
            _at_most(through, CHANCE, f"adaptive PGD at eps 1 on {defense}", _knowing(defense)),
        ]
    )


def strength(rows: Sequence[Row], defense: str, budget: float = HEADLINE_PGD_EPS) -> Outcome:
    """Check 6: white-box PGD is as strong as FGSM, and twice the steps move accuracy by less than a point.

    The classifier alone is judged at the paper's budget, the defense at `budget`.
    """
    findings: list[Finding] = []
    kinds = ((NO_DEFENSE, "oblivious", "paper", HEADLINE_PGD_EPS), (defense, "adaptive", _knowing(defense), budget))
    for kind, knowledge, protocol, eps in kinds:
        of_kind = [row for row in select(rows, defense=kind, knowledge=knowledge) if row.noise in {"", "zero"}]
        findings += _stronger_than_fgsm(of_kind)
        findings.append(_saturated(of_kind, kind, protocol, eps))
    return outcome(findings)


def adaptive_beats_oblivious(rows: Sequence[Row], defense: str, budget: float = HEADLINE_PGD_EPS) -> Outcome:
    """Check 8: knowing the purifier helps the attacker, and so does noise that is zero or fixed."""
    own = select(rows, defense=defense, eps=budget, attack="pgd")
    by_noise = {
        noise: (
            (f"adaptive, noise {noise}", select(own, knowledge="adaptive", noise=noise)),
            (f"oblivious, noise {noise}", select(own, knowledge="oblivious", noise=noise)),
        )
        for noise in ("zero", "fixed", "drawn")
    }
    findings = [_no_better(adaptive, oblivious) for adaptive, oblivious in by_noise.values()]
    findings += [_no_better(by_noise[noise][0], by_noise["drawn"][0]) for noise in ("zero", "fixed")]
    return outcome(findings)


def masking(rows: Sequence[Row], defense: str, budget: float = HEADLINE_PGD_EPS) -> Outcome:
    """Check 9: no attack that sees less beats the white-box one; `masked` is 1 where one does."""
    served = select(rows, defense=defense, eps=budget, noise="zero")
    white_box = ("white-box PGD", select(served, attack="pgd", knowledge="adaptive"))
    findings = [
        _no_better(white_box, (f"{attack} ({knowledge})", select(served, attack=attack, knowledge=knowledge)))
        for attack, knowledge in _RIVALS
    ]
    return outcome(findings, masked=float(any(finding.right is False for finding in findings)))


def worst_case(rows: Sequence[Row], defense: str) -> Outcome:
    """Check 10: the headline is the worst of all attacks on each image."""
    row = worst(rows, defense=defense)
    if row is None:
        return outcome([Finding(None, _RUN.format(_knowing(defense)))])
    parts = [
        part
        for part in select(rows, defense=defense, noise="zero", n=row.n)
        if 0 < part.eps <= row.eps and part.attack != "worst_case" and part.steps != DOUBLE_STEPS
    ]
    least = min((part.robust_accuracy for part in parts), default=1.0)
    text = (
        f"{row.robust_accuracy:.4f} of {row.n} images stand under all of {row.restarts} attacks, {least:.4f} under one"
    )
    return outcome([Finding(row.robust_accuracy <= least, text)], worst_case=row.robust_accuracy)


def leaking(rows: Sequence[Row], defenses: Sequence[str]) -> Outcome:
    """Check 13: FGSM leaves no more than the clean accuracy or the step to the least likely class, plus 3 points."""
    findings = []
    for defense in defenses:
        noise = zero_noise(defense).noise
        row = largest(rows, attack="fgsm", eps=HEADLINE_FGSM_EPS, defense=defense, knowledge="oblivious", noise=noise)
        leaks = None if row is None else leaks_label(rows, row)
        text = f"{defense}: needs FGSM and FGSM towards the least likely class"
        if row is not None and leaks is not None:
            text = f"{defense}: FGSM leaves {row.robust_accuracy:.4f} of {row.clean_accuracy:.4f} clean"
        findings.append(Finding(None if leaks is None else not leaks, text))
    return outcome(findings)


def leaks_label(rows: Sequence[Row], row: Row) -> bool | None:
    """Whether a purifier seems to read the label off FGSM's pattern; None without the row to compare with."""
    towards = largest(
        rows, dataset=row.dataset, attack="fgsm_least_likely", eps=row.eps, defense=row.defense, noise=row.noise
    )
    if towards is None:
        return None
    return row.robust_accuracy > min(row.clean_accuracy, towards.robust_accuracy) + LEAKING_MARGIN


def name(row: Row) -> str:
    """A row in words."""
    return f"{row.attack} eps {row.eps:g} ({row.knowledge}) on {row.defense}" + (
        f", noise {row.noise}" if row.noise else ""
    )


def _knowing(defense: str) -> str:
    """The protocol of those who know a defense."""
    return "robust" if defense == ROBUST_DEFENSE else "adaptive"


def _at_most(row: Row | None, limit: float, text: str, protocol: str) -> Finding:
    if row is None:
        return Finding(None, f"{text} is not measured: {_RUN.format(protocol)}")
    return Finding(row.robust_accuracy <= limit, f"{text} leaves {row.robust_accuracy:.4f}, allowed {limit:g}")


def _stronger_than_fgsm(rows: Sequence[Row]) -> Iterator[Finding]:
    """Each budget of both, on the same images where there are such rows."""
    for eps in sorted({row.eps for row in select(rows, attack="fgsm") if row.eps > 0}):
        walked = select(rows, attack="pgd", eps=eps, steps=PGD_STEPS)
        stepped = select(rows, attack="fgsm", eps=eps)
        alike = {row.n for row in walked} & {row.n for row in stepped}
        n = {"n": max(alike)} if alike else {}
        pgd, fgsm = largest(walked, **n), largest(stepped, **n)
        if pgd is not None and fgsm is not None:
            right = pgd.robust_accuracy <= fgsm.robust_accuracy + standard_error(fgsm, pgd)
            figures = f"PGD leaves {pgd.robust_accuracy:.4f}, FGSM {fgsm.robust_accuracy:.4f}"
            yield Finding(right, f"{fgsm.defense}, eps {fgsm.eps:g}: {figures}")


def _saturated(rows: Sequence[Row], defense: str, protocol: str, eps: float) -> Finding:
    doubled = largest(rows, attack="pgd", eps=eps, steps=DOUBLE_STEPS)
    single = None if doubled is None else largest(rows, attack="pgd", eps=eps, steps=PGD_STEPS, n=doubled.n)
    if doubled is None or single is None:
        return Finding(None, f"{defense}: {DOUBLE_STEPS} steps are not measured: {_RUN.format(protocol)}")
    moved = abs(doubled.robust_accuracy - single.robust_accuracy)
    figures = f"{PGD_STEPS} steps leave {single.robust_accuracy:.4f}, {DOUBLE_STEPS} {doubled.robust_accuracy:.4f}"
    return Finding(moved < _ONE_POINT, f"{defense}: {figures}")


def _no_better(stronger: Named, weaker: Named) -> Finding:
    """The attack that ought to be stronger leaves no more than the other, on each number of images that both got."""
    sizes = {row.n for row in stronger[1]} & {row.n for row in weaker[1]}
    if not sizes:
        lacking = [title for title, rows in (stronger, weaker) if not rows] or ["the same number of images for both"]
        return Finding(None, f"{stronger[0]} against {weaker[0]}: not measured, {' and '.join(lacking)}")
    found = []
    for n in sorted(sizes, reverse=True):
        strong, weak = (_worst(rows, n) for _, rows in (stronger, weaker))
        right = strong.robust_accuracy <= weak.robust_accuracy + standard_error(strong, weak)
        text = f"{stronger[0]} {strong.robust_accuracy:.4f}, {weaker[0]} {weak.robust_accuracy:.4f}, n {n:,}"
        found.append(Finding(right, text))
    return min(found, key=lambda finding: bool(finding.right))


def _worst(rows: Sequence[Row], n: int) -> Row:
    return min(select(rows, n=n), key=lambda row: row.robust_accuracy)
