"""The gates of an evaluation and their verdicts, in models/checks.json.

`row_checks` reads the rows, `probes` measures what no row holds; this module puts their outcomes together.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from service.catalog import DEFAULT_DEFENSE
from service.manifest import Manifest
from training import precisions, protocols, row_checks, row_files
from training.errors import EvaluationError
from training.outcome import FAILED, Outcome, Verdict
from training.probes import Probes
from training.results import Row, select
from training.robust_recipes import ROBUST_DEFENSE
from training.served import artefact

FILE_NAME = "checks.json"
RULES = {
    1: ("eval mode", "accuracy at eps 0 equals clean accuracy exactly; an attack leaves weights and buffers alone"),
    2: ("ball", "every adversarial image in [0, 1] and within eps + 1e-6 (1e-5 in L2); accuracy in 8 bits reported"),
    3: ("reach", "steps x step_size of at least 2.5 eps, or the effective eps is printed"),
    4: ("monotone", "accuracy does not rise with eps by more than one standard error"),
    5: ("unbounded", "PGD at eps 1 leaves 0 undefended, and at most chance through the pipeline (adaptive)"),
    6: ("strength", "PGD at least as strong as FGSM at the same eps; twice the steps move accuracy by < 1 point"),
    7: ("cross-library", "FGSM equals Foolbox's to 1e-6, PGD's accuracy within a point, on the same weights"),
    8: ("adaptive ≤ oblivious", "and fixed or zero noise helps the attacker at least as much as fresh noise"),
    9: ("masking", "BPDA-identity, Square, transfer and random noise do not beat the white-box attack"),
    10: ("worst case", "the headline is the worst over the attacks on each image, not an average"),
    11: ("canaries", "breaks an undefended VGG and a gradient-killing fake defence, not an adversarially trained net"),
    12: ("parity", "ONNX and torch agree on logits to 1e-4 and every label; attacks walk torch's gradients to 1e-3"),
    13: ("label leaking", "FGSM leaves at most 3 points more than no attack or FGSM to the least likely class"),
    14: ("precision", "int8 and fp16 are right on as many of 10,000 images as fp32, clean and attacked, to .3 points"),
}  # fmt: skip
OF_THE_INFORMED = (5, 6, 8, 9, 10)


@dataclass(frozen=True)
class Check:
    """A check's verdict on the graphs of one data set, for one defense. `measured` holds its figures by name."""

    dataset: str
    number: int
    name: str
    rule: str
    verdict: Verdict
    why: str
    measured: dict[str, float]
    artefact: str
    defense: str = DEFAULT_DEFENSE


def run(models: Path, manifest: Manifest, dataset: str, rows: Sequence[Row], probes: Probes) -> list[Check]:
    """All checks on a data set's shipped purifier and what stands beside it, saved to models/checks.json.

    What rows tell of an attacker who knows the purifier (checks 5, 6, 8 to 10) is checked of the robust one too.
    Costly probes that stand there for the same graphs are taken as they are.
    """
    defenses = manifest.defenses(dataset)
    every_precision = select(rows, dataset=dataset, norm="linf")  # an eps means another thing in another norm
    own = select(every_precision, precision="fp32")
    shipped = defenses[0]
    served = artefact(manifest, dataset, shipped)
    kept = {check.number: Outcome(check.verdict, check.why, check.measured)
            for check in read(models / FILE_NAME) if (check.dataset, check.artefact) == (dataset, served)}  # fmt: skip
    outcomes = {
        1: probes.eval_mode(own),
        2: probes.ball(),
        3: row_checks.reach(own),
        4: row_checks.monotone(own),
        7: probes.cross_library(kept.get(7)),
        11: probes.canaries(own, kept.get(11)),
        12: probes.parity(),
        13: row_checks.leaking(own, defenses),
        14: precisions.close(every_precision),
    }
    outcomes |= _informed(own, dataset, shipped)
    found = [_check(dataset, number, outcomes[number], served, shipped) for number in sorted(outcomes)]
    if ROBUST_DEFENSE in defenses:
        robust = artefact(manifest, dataset, ROBUST_DEFENSE)
        informed = _informed(own, dataset, ROBUST_DEFENSE)
        found += [_check(dataset, number, outcome, robust, ROBUST_DEFENSE) for number, outcome in informed.items()]
    save(models, found)
    return found


def _informed(rows: Sequence[Row], dataset: str, defense: str) -> dict[int, Outcome]:
    """The checks of a defense at its own budget that rows answer."""
    eps = protocols.budget(dataset, defense)
    return {
        5: row_checks.unbounded(rows, defense),
        6: row_checks.strength(rows, defense, eps),
        8: row_checks.adaptive_beats_oblivious(rows, defense, eps),
        9: row_checks.masking(rows, defense, eps),
        10: row_checks.worst_case(rows, defense),
    }


def broken_ball(manifest: Manifest, dataset: str, why: str) -> Check:
    """Check 2, failed."""
    shipped = manifest.defenses(dataset)[0]
    return _check(dataset, 2, Outcome(FAILED, why), artefact(manifest, dataset, shipped), shipped)


def save(models: Path, checks: Iterable[Check]) -> None:
    """Put checks in the place of those of the same defense and number; the file is replaced in one step."""
    path = models / FILE_NAME
    with row_files.alone(models):
        merged = {(check.dataset, check.defense, check.number): check for check in [*read(path), *checks]}
        temporary = path.with_suffix(".tmp")
        ordered = [asdict(merged[place]) for place in sorted(merged)]
        temporary.write_text(json.dumps(ordered, indent=2, ensure_ascii=False) + "\n")
        temporary.replace(path)


def read(path: Path) -> list[Check]:
    """All checks; none where the file does not exist.

    Raises:
        EvaluationError: the file is not a list of checks.
    """
    if not path.exists():
        return []
    try:
        return [Check(**entry) for entry in json.loads(path.read_text())]
    except (ValueError, TypeError) as error:
        raise EvaluationError(f"{path} is not a list of checks: {error}") from error


def _check(dataset: str, number: int, outcome: Outcome, served: str, defense: str = DEFAULT_DEFENSE) -> Check:
    name, rule = RULES[number]
    return Check(dataset, number, name, rule, outcome.verdict, outcome.why, outcome.measured, served, defense)
