"""`python -m training evaluate`: accuracy of the served graphs under attack, into models/results.csv.

Attacks are made with torch on the weights of the served graphs; every answer that counts is the ONNX graph's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from service import manifest as manifests
from training import checks, protocols
from training.bench import TestBench
from training.data import Examples
from training.errors import BallError, EvaluationError, GateError
from training.ledger import Ledger
from training.measurement import AttackSpec, Measurement, attack_name
from training.outcome import FAILED
from training.probes import Probes
from training.protocols import Sizes, zero_noise
from training.results import Row
from training.robust_recipes import ROBUST_DEFENSE
from training.served import current_rows
from training.white_boxes import Victim
from training.workers import Workers

_WORST_CASE = "worst_case"


def evaluate(
    dataset: str,
    protocol: str,
    *,
    test: Examples,
    train: Callable[[], Examples],
    models: Path,
    cache: Path,
    device: torch.device,
    sizes: Sizes,
    workers: Workers,
    again: bool = False,
    defense: str | None = None,
    only: Collection[str] = (),
) -> list[Row]:
    """Measure a protocol, merging its rows into models/results.csv after each attack; then run the checks on all rows.

    Rows that are there for the same graphs are taken as they are, unless `again`. `train` gives the training set, on
    which a check trains a small net. `defense` is attacked in the shipped purifier's place. Of some attacks `only` are
    measured, the others left out and no check is run. Returns the rows of the protocol.

    Raises:
        EvaluationError: the protocol is about other defenses, or there is no defense or attack of that name.
        BallError: an adversarial image leaves [0, 1] or its ball; no row is made of such images.
        GateError: everything was measured and written, and a check failed.
    """
    manifest = manifests.read(models)
    manifests.verify(models, manifest)
    ledger = Ledger(models, manifest, dataset)
    defenses = _attacked_first(defense, protocol, manifest.defenses(dataset))
    whole = protocols.measurements(protocol, dataset, defenses, sizes)
    judged = _judged(protocol, defenses)
    plan = _chosen(whole, only, protocol, judged)
    bench = TestBench(Victim(models, dataset, device.type), test, cache, workers)
    try:
        rows = _measure_all(bench, ledger, plan, again=again)
        if judged is not None and (not only or _WORST_CASE in only):
            rows.append(_worst_case(bench, ledger, whole, judged, again=again))
    except BallError as error:
        checks.save(models, [checks.broken_ball(manifest, dataset, str(error))])
        raise
    if only:
        return rows
    probes = Probes(bench, manifest, train, sizes.check_n, costly=protocol in {"paper", "adaptive"}, again=again)
    found = checks.run(models, manifest, dataset, current_rows(models, manifest), probes)
    _report(dataset, found)
    return rows


def _measure_all(bench: TestBench, ledger: Ledger, plan: list[Measurement], *, again: bool) -> list[Row]:
    if again:
        for measurement in plan:
            bench.forget(measurement.spec, measurement.views)
    rows = []
    for number, measurement in enumerate(plan, start=1):
        print(f"{number}/{len(plan)}", end=" ")
        rows += _measure(bench, ledger, measurement, again=again)
    return rows


def _judged(protocol: str, defenses: tuple[str, ...]) -> str | None:
    """The defense whose worst case a protocol ends with."""
    return {"adaptive": defenses[0], "robust": ROBUST_DEFENSE}.get(protocol)


def _chosen(plan: list[Measurement], only: Collection[str], protocol: str, judged: str | None) -> list[Measurement]:
    """The measurements of some attacks of a plan, by their names in results.csv; of all where none are named.

    Raises:
        EvaluationError: the protocol has no attack of a name.
    """
    if not only:
        return plan
    allowed = dict.fromkeys(attack_name(measurement.spec, view) for measurement in plan for view in measurement.views)
    if judged is not None:
        allowed[_WORST_CASE] = None
    unknown = [name for name in only if name not in allowed]
    if unknown:
        raise EvaluationError(
            f"--only {','.join(unknown)} is no attack of --protocol {protocol}; allowed: {', '.join(allowed)}"
        )
    chosen = []
    for measurement in plan:
        views = tuple(view for view in measurement.views if attack_name(measurement.spec, view) in only)
        if views:
            chosen.append(replace(measurement, views=views))
    return chosen


def _report(dataset: str, found: Sequence[checks.Check]) -> None:
    """Print the verdicts.

    Raises:
        GateError: a check failed.
    """
    for check in found:
        print(f"check {check.number:2} {check.name} of {check.defense}: {check.verdict}. {check.why}")
    failed = [
        f"check {check.number} ({check.name}) of {check.defense}: {check.why}"
        for check in found
        if check.verdict == FAILED
    ]
    if failed:
        raise GateError(f"{len(failed)} of {len(found)} checks failed on {dataset}. " + " ".join(failed))


def _attacked_first(defense: str | None, protocol: str, defenses: tuple[str, ...]) -> tuple[str, ...]:
    """The defenses in the order in which a protocol takes them: the first is the one under attack."""
    if defense is None:
        return defenses
    if protocol not in protocols.OF_ONE_DEFENSE:
        allowed = ", ".join(protocols.OF_ONE_DEFENSE)
        raise EvaluationError(f"--defense {defense} was given with --protocol {protocol}; allowed with {allowed}")
    if defense not in defenses:
        raise EvaluationError(f"no defense {defense!r} is exported; allowed: {', '.join(defenses)}")
    return (defense, *(name for name in defenses if name != defense))


def _measure(bench: TestBench, ledger: Ledger, measurement: Measurement, *, again: bool) -> list[Row]:
    spec, n = measurement.spec, min(measurement.n, len(bench.test))
    blanks = {view: ledger.blank(spec, view, n) for view in measurement.views}
    exactly = measurement.exactly
    missing = [view for view, blank in blanks.items() if again or ledger.find(blank, exactly=exactly) is None]
    if missing:
        answers = bench.answers(spec, missing, n)
        for view in missing:
            ledger.record(blanks[view], bench.labels(n), bench.clean_answers(view, n), answers[view])
        ledger.save()
    rows = [row for blank in blanks.values() if (row := ledger.find(blank, exactly=exactly)) is not None]
    for row in rows:
        print(_line(row))
    return rows


def _worst_case(bench: TestBench, ledger: Ledger, plan: list[Measurement], defense: str, *, again: bool) -> Row:
    """An image counts as right only if it is under every attack of the plan within the defense's budget (check 10).

    It stands on the images that all of them got. The row's `restarts` says how many attacks these are.
    """
    view = zero_noise(defense)
    eps = protocols.budget(bench.victim.dataset, defense)
    specs = protocols.worst_case(plan, view, eps)
    n = min(*specs.values(), len(bench.test))
    attack = AttackSpec(_WORST_CASE, eps, steps=0, restarts=len(specs), defense=defense)
    blank = ledger.blank(attack, view, n)
    row = ledger.find(blank)
    if row is None or again:
        labels = bench.labels(n)
        worst = labels
        for spec in specs:
            worst = np.where(worst == labels, bench.answers(spec, [view], n)[view], worst)
        row = ledger.record(blank, labels, bench.clean_answers(view, n), worst)
        ledger.save()
    print(_line(row))
    return row


def _line(row: Row) -> str:
    noise = f", noise {row.noise}" if row.noise else ""
    noise += f" (seed {row.seed})" if row.noise in {"fixed", "drawn"} else ""
    knowledge = f" ({row.knowledge})" if row.knowledge else ""
    return (
        f"{row.dataset:14} {row.attack} eps {row.eps:g} {row.norm}{knowledge}, defense {row.defense}{noise}: "
        f"{row.robust_accuracy:.4f} [{row.ci_low:.4f}, {row.ci_high:.4f}], clean {row.clean_accuracy:.4f}, n {row.n}"
    )
