from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from service import manifest as manifests
from service.attacks import ATTACKS, Result, fgsm, pgd
from service.errors import ManifestError
from training import (
    autoattack,
    bench,
    checks,
    confusions,
    crafting,
    evaluate,
    protocols,
    results,
    robust_recipes,
    row_checks,
)
from training.data import Examples
from training.errors import BallError, EvaluationError, GateError
from training.ledger import Ledger
from training.measurement import AttackSpec, Measurement, View
from training.outcome import Outcome
from training.pipeline import TorchWhiteBox
from training.probes import Probes
from training.protocols import Sizes
from training.results import Row
from training.white_boxes import Victim
from training.workers import Processes
from training.zoo import specs

SIZES = Sizes(n=60, pgd_n=20, sweep_n=30, check_n=10, slow_n=2, long_n=4)
# Attack, knowledge, latent noise, looks a gradient and images: what both protocols of knowing attackers measure.
_KNOWING = {
    ("pgd", "oblivious", "zero", 1, 20),
    ("pgd", "adaptive", "zero", 1, 20),
    ("pgd", "adaptive", "zero", 1, 2),
    ("apgd_ce", "adaptive", "zero", 1, 4),
    ("apgd_dlr", "adaptive", "zero", 1, 4),
    ("pgd", "adaptive", "fixed", 1, 20),
    ("pgd", "adaptive", "drawn", 1, 20),
    ("pgd", "adaptive", "drawn", 20, 2),
    ("pgd_identity", "adaptive", "zero", 1, 20),
    ("pgd_transfer", "black_box", "zero", 1, 20),
    ("random_noise", "black_box", "zero", 1, 20),
    ("square", "black_box", "zero", 1, 2),
    ("worst_case", "adaptive", "zero", 1, 2),
}


@pytest.fixture(autouse=True)
def probed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes have tests of their own; here they all pass."""
    monkeypatch.setattr("training.protocols.SQUARE_QUERIES", 50)
    monkeypatch.setattr("training.zoo.SQUARE_QUERIES", 50)
    for name in ("eval_mode", "ball", "cross_library", "canaries", "parity"):
        monkeypatch.setattr(Probes, name, lambda *_: Outcome("passed", "not asked."))


def _evaluate(
    models: Path,
    examples: Examples,
    protocol: str = "quick",
    *,
    again: bool = False,
    sizes: Sizes = SIZES,
    defense: str | None = None,
    only: tuple[str, ...] = (),
) -> list[Row]:
    """The protocol's rows; whether an untrained net passes the gates is another matter."""
    rows: list[Row] = []
    try:
        rows = evaluate.evaluate(
            *("mnist", protocol),
            test=examples,
            train=lambda: examples,
            models=models,
            cache=models.parent / "cache",
            device=torch.device("cpu"),
            sizes=sizes,
            workers=Processes(1),
            again=again,
            defense=defense,
            only=only,
        )
    except GateError:
        rows = results.read(models / "results.csv")
    return rows


def _find(rows: list[Row], **wanted: object) -> Row:
    (row,) = results.select(rows, **wanted)
    return row


def test_rows_hold_the_accuracy_of_the_served_graphs_on_the_crafted_images(
    models: Path, served_classifier: nn.Module, examples: Examples
) -> None:
    rows = _evaluate(models, examples)
    row = _find(rows, attack="fgsm", eps=0.6, defense="none")
    adv_images = fgsm(TorchWhiteBox(served_classifier), examples.images, examples.labels, eps=0.6).adv_images
    expected = (served_classifier(adv_images).argmax(1) == examples.labels).float().mean().item()
    assert row.robust_accuracy == pytest.approx(expected, abs=1e-4)
    assert (row.knowledge, row.noise, row.n) == ("oblivious", "", 60)
    for defense in ("autoencoder", "autoencoder_paper"):
        assert _find(rows, attack="fgsm", eps=0.6, defense=defense).noise == "zero"


def test_the_paper_protocol_fills_every_cell_of_its_tables(models: Path, examples: Examples) -> None:
    """The headline budgets on n and pgd_n images, the others on sweep_n."""
    rows = _evaluate(models, examples, "paper")
    for defense in ("none", "autoencoder"):
        stepped = results.select(rows, attack="fgsm", defense=defense, knowledge="oblivious")
        sweep = {(row.eps, row.n) for row in stepped if row.noise not in {"drawn", "fixed"}}
        assert sweep == {(0.6, 60), *((eps, 30) for eps in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5))}
        walked = {(row.eps, row.n) for row in results.select(rows, attack="pgd", defense=defense) if row.n >= 20}
        assert walked >= {(0.15, 20), *((eps, 30) for eps in (0.05, 0.1, 0.2, 0.3))}
        assert results.select(rows, attack="none", defense=defense, n=60)
    drawn = results.select(rows, attack="fgsm", eps=0.6, defense="autoencoder", noise="drawn")
    assert {row.seed for row in drawn} == {0, 1, 2}


def test_the_adaptive_protocol_names_what_each_attacker_knows(models: Path, examples: Examples) -> None:
    rows = _evaluate(models, examples, "adaptive")
    own = results.select(rows, defense="autoencoder", eps=0.15)
    found = {(row.attack, row.knowledge, row.noise, row.eot, row.n) for row in own if row.steps != 80}
    assert found >= _KNOWING
    worst = _find(own, attack="worst_case")
    few = [row for row in own if (row.n, row.noise) == (2, "zero")]
    assert worst.robust_accuracy <= min(row.robust_accuracy for row in few)
    assert worst.restarts == len(_all_within(0.15))
    (masking,) = [check for check in checks.read(models / "checks.json") if check.number == 9]
    assert masking.verdict == "passed", "the slow attack stands beside PGD on the same images"


def _all_within(eps: float) -> dict[AttackSpec, int]:
    plan = protocols.measurements("adaptive", "mnist", ("autoencoder", "autoencoder_paper"), SIZES)
    return protocols.worst_case(plan, protocols.zero_noise("autoencoder"), eps)


def test_the_worst_case_is_of_every_attack_on_the_images_that_all_of_them_got() -> None:
    found = _all_within(0.15)
    assert {spec.attack for spec in found} == {"pgd", "fgsm", "apgd_ce", "apgd_dlr", "square", "random_noise"}
    assert {spec.gradient for spec in found} == {"exact", "identity"}
    assert {spec.defense for spec in found} == {"none", "autoencoder", "autoencoder_paper"}
    assert all(0 < spec.eps <= 0.15 for spec in found)
    assert min(found.values()) == SIZES.slow_n
    assert found[AttackSpec("pgd", 0.15, steps=40, random_start=True, defense="autoencoder")] == SIZES.pgd_n


def test_the_worst_case_of_more_attacks_counts_whatever_its_images(models: Path, examples: Examples) -> None:
    manifest = manifests.read(models)
    view = protocols.zero_noise("autoencoder")
    steps = [
        Measurement(AttackSpec("fgsm", eps, defense="autoencoder"), n, (view,)) for eps, n in ((0.1, 9), (0.15, 5))
    ]
    with Processes(1) as workers:
        test_bench = bench.TestBench(Victim(models, "mnist", "cpu"), examples, models.parent / "cache", workers)
        for plan, attacks, n in ((steps[:1], 1, 9), (steps, 2, 5)):
            evaluate._worst_case(test_bench, Ledger(models, manifest, "mnist"), plan, "autoencoder", again=False)
            row = results.worst(results.read(models / "results.csv"))
            assert row is not None
            assert (row.restarts, row.n) == (attacks, n)


@pytest.mark.parametrize("protocol", ["adaptive", "robust"])
def test_what_checks_compare_is_measured_on_the_same_images_whatever_was_measured_on_more(protocol: str) -> None:
    defense = {"adaptive": "autoencoder", "robust": "autoencoder_robust"}[protocol]
    defenses = ("autoencoder", "autoencoder_paper", "autoencoder_robust")
    eps = protocols.budget("mnist", defense)
    plan = [
        (one.spec, one.n, view)
        for one in protocols.measurements(protocol, "mnist", defenses, SIZES)
        for view in one.views
        if one.exactly and view.defense == defense and one.spec.eps == eps
    ]
    zero = [(spec, n) for spec, n, view in plan if view.noise == "zero"]
    walked = {(spec.defense, spec.gradient, n) for spec, n in zero if spec.attack == "pgd" and spec.steps == 40}
    assert {("none", "exact", 20), (defense, "exact", 20), (defense, "exact", 2), (defense, "identity", 20)} <= walked
    assert {spec for spec, *_ in walked} - {"none", defense}, "images of another purifier"
    assert {(spec.attack, n) for spec, n in zero} >= {("square", 2), ("random_noise", 20)}
    noises = {(spec.defense, view.noise) for spec, n, view in plan if (spec.attack, n) == ("pgd", 20)}
    assert noises >= {(who, noise) for who in ("none", defense) for noise in ("zero", "fixed", "drawn")}


def test_the_ablation_sets_purifiers_of_one_attack_beside_the_one_of_both(
    models: Path, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocols, "ONE_ATTACK", {("mnist", "autoencoder_paper"): None})
    rows = _evaluate(models, examples, "ablation")
    found = {(row.defense, row.attack, row.knowledge) for row in rows}
    attacks = {("none", ""), ("pgd", "adaptive")} | {
        (attack, "oblivious") for attack in ("fgsm", "fgsm_least_likely", "pgd")
    }
    assert found == {(name, *attack) for name in ("autoencoder", "autoencoder_paper") for attack in attacks}


@pytest.fixture
def robust(monkeypatch: pytest.MonkeyPatch) -> str:
    """The second purifier of the tiny models, taken for the robust one."""
    name = "autoencoder_paper"
    for module in (protocols, evaluate, checks, row_checks):
        monkeypatch.setattr(module, "ROBUST_DEFENSE", name)
    recipes = robust_recipes.ROBUST
    monkeypatch.setitem(recipes, ("mnist", name), recipes["mnist", robust_recipes.ROBUST_DEFENSE])
    return name


def test_the_robust_protocol_attacks_it_at_its_own_budget_and_judges_it_by_checks_of_its_own(
    models: Path, examples: Examples, robust: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autoattack, "attack", lambda model, images, labels, **_: images.detach())
    rows = _evaluate(models, examples, "robust")
    own = results.select(rows, defense=robust, eps=0.3)
    found = {(row.attack, row.knowledge, row.noise, row.eot, row.n) for row in own if row.steps != 80}
    assert found >= _KNOWING | {
        ("fgsm", "adaptive", "zero", 1, 20),
        ("pgd", "oblivious", "drawn", 1, 20),
        ("autoattack", "adaptive", "zero", 1, 2),
    }
    assert _find(own, attack="autoattack").robust_accuracy == _find(own, attack="autoattack").clean_accuracy
    assert results.select(rows, defense="autoencoder", eps=0.3, attack="pgd", knowledge="adaptive", n=20)
    assert results.select(rows, defense=robust, attack="pgd", eps=1.0, knowledge="adaptive", n=10)
    judged = {(check.defense, check.number) for check in checks.read(models / "checks.json")}
    assert judged == {("autoencoder", number) for number in checks.RULES} | {
        (robust, number) for number in checks.OF_THE_INFORMED
    }


def test_another_defense_is_attacked_in_the_shipped_ones_place(models: Path, examples: Examples) -> None:
    rows = _evaluate(models, examples, "quick", defense="autoencoder_paper")
    (through,) = results.select(rows, knowledge="adaptive")
    assert (through.defense, through.attack) == ("autoencoder_paper", "pgd")
    with pytest.raises(
        EvaluationError, match="no defense 'puvae' is exported; allowed: autoencoder, autoencoder_paper"
    ):
        _evaluate(models, examples, "quick", defense="puvae")
    with pytest.raises(EvaluationError, match="was given with --protocol paper; allowed with adaptive, quick, zoo"):
        _evaluate(models, examples, "paper", defense="autoencoder_paper")


def test_some_attacks_of_a_protocol_are_measured_alone_and_without_checks(models: Path, examples: Examples) -> None:
    rows = _evaluate(models, examples, "adaptive", only=("square", "random_noise"))
    assert {row.attack for row in rows} == {"square", "random_noise"}
    assert {row.attack for row in results.read(models / "results.csv")} == {"square", "random_noise"}
    assert not checks.read(models / "checks.json")
    with pytest.raises(EvaluationError, match="--only pixel is no attack of --protocol quick; allowed: fgsm, fgsm_le"):
        _evaluate(models, examples, "quick", only=("fgsm", "pixel"))
    with pytest.raises(EvaluationError, match="--only worst_case is no attack of --protocol quick"):
        _evaluate(models, examples, "quick", only=("worst_case",))


def test_the_worst_case_alone_is_of_the_whole_protocol(models: Path, examples: Examples) -> None:
    (worst,) = _evaluate(models, examples, "adaptive", only=("worst_case",))
    assert worst.restarts == len(_all_within(0.15))


def test_a_defense_that_is_not_exported_is_named(models: Path, examples: Examples) -> None:
    with pytest.raises(EvaluationError, match="no autoencoder_robust is exported for mnist; found: autoencoder, auto"):
        _evaluate(models, examples, "robust")


def test_the_zoo_has_a_row_of_each_attack_undefended_oblivious_and_through_the_purifier(
    models: Path, examples: Examples
) -> None:
    rows = _evaluate(models, examples, "zoo")
    for spec in specs():
        own = results.select(rows, attack=spec.attack, norm=spec.norm, eps=spec.eps)
        through = "adaptive" if ATTACKS[spec.attack].access == "gradients" else "black_box"  # type: ignore[index]
        alone = "oblivious" if through == "adaptive" else "black_box"
        found = {(row.defense, row.knowledge) for row in own}
        assert found == {("none", alone), ("autoencoder", "oblivious"), ("autoencoder", through)}
    assert {row.n for row in results.select(rows, attack="cw")} == {2}
    assert {row.n for row in results.select(rows, attack="ddn")} == {4}
    assert {row.n for row in results.select(rows, attack="bim")} == {60}


def test_a_second_run_takes_every_row_as_it_is(
    models: Path, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _evaluate(models, examples)

    def fail(*_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(bench.TestBench, "answers", fail)
    assert _evaluate(models, examples) == first
    with pytest.raises(AssertionError, match="measured again"):
        _evaluate(models, examples, again=True)


def test_what_was_measured_on_more_images_is_not_measured_on_fewer(models: Path, examples: Examples) -> None:
    first = _evaluate(models, examples)
    fewer = _evaluate(models, examples, sizes=replace(SIZES, n=SIZES.n - 1))
    assert fewer == first
    more = _evaluate(models, examples, sizes=replace(SIZES, pgd_n=SIZES.pgd_n + 1))
    assert {row.n for row in results.select(more, attack="pgd")} == {SIZES.pgd_n + 1}


def test_again_makes_the_images_once_and_asks_the_graphs_anew(
    models: Path, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _evaluate(models, examples)
    done: list[str] = []
    craft, judge = crafting.craft, bench._judge

    def count_craft(victim: Any, spec: AttackSpec, chunk: Any) -> Any:
        done.append(f"{spec.attack} {spec.label}")
        return craft(victim, spec, chunk)

    def count_judge(*arguments: Any) -> Any:
        done.append("judge")
        return judge(*arguments)

    monkeypatch.setattr(bench, "craft", count_craft)
    monkeypatch.setattr(bench, "_judge", count_judge)
    assert _evaluate(models, examples) == first
    assert "fgsm true" not in done
    done.clear()
    assert _evaluate(models, examples, again=True) == first
    # One direction gives the images of every eps.
    assert done.count("fgsm true") == 1
    assert done.count("judge") >= len({(row.attack, row.eps) for row in first})


def test_rows_of_replaced_graphs_go(models: Path, examples: Examples) -> None:
    rows = _evaluate(models, examples)
    path = models / "results.csv"
    old = replace(rows[0], artefact="mnist/classifier@000000000000")
    other = replace(old, dataset="fashion-mnist")
    results.merge(path, [old, other])
    (models / "confusions.csv").unlink()
    _evaluate(models, examples)
    assert old not in results.read(path)
    assert other in results.read(path)


def test_two_evaluations_of_one_folder_leave_each_others_rows_alone(models: Path) -> None:
    """As of two data sets side by side: what one has read at its start is not what it writes back."""
    manifest = manifests.read(models)
    first, second = (Ledger(models, manifest, "mnist") for _ in range(2))
    labels, answers = np.arange(10), np.zeros(10, np.int64)
    blanks = [first.blank(AttackSpec("fgsm", eps), View("none"), 10) for eps in (0.1, 0.2)]
    for ledger, blank in zip((first, second), blanks, strict=True):
        ledger.record(blank, labels, labels, answers)
        ledger.save()
    again = Ledger(models, manifest, "mnist")
    changed = again.record(blanks[0], labels, labels, labels)
    again.save()
    second.save()
    assert Ledger(models, manifest, "mnist").find(blanks[0]) == changed
    assert Ledger(models, manifest, "mnist").find(blanks[1]) is not None


def test_confusions_add_up_to_the_rows(models: Path, examples: Examples) -> None:
    rows = _evaluate(models, examples)
    counts = confusions.read(models / "confusions.csv")
    assert len(counts) == len(rows)
    for row in rows:
        table = counts[confusions.identity(row)]
        assert table.sum() == row.n
        assert np.trace(table) / row.n == pytest.approx(row.robust_accuracy, abs=1e-4)


def test_a_failed_check_is_written_and_ends_the_evaluation(
    models: Path, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Probes, "parity", lambda *_: Outcome("failed", "labels differ."))
    with pytest.raises(GateError, match=r"check 12 \(parity\) of autoencoder: labels differ"):
        evaluate.evaluate(
            *("mnist", "quick"),
            test=examples,
            train=lambda: examples,
            models=models,
            cache=models.parent / "cache",
            device=torch.device("cpu"),
            sizes=SIZES,
            workers=Processes(1),
        )
    (check,) = [check for check in checks.read(models / "checks.json") if check.number == 12]
    assert (check.verdict, check.why) == ("failed", "labels differ.")
    assert len(json.loads((models / "checks.json").read_text())) == 14


def test_images_outside_the_ball_stop_the_evaluation_and_fail_check_2(
    models: Path, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ATTACKS, "pgd", replace(ATTACKS["pgd"], function=_leave_the_ball))
    with pytest.raises(BallError, match=r"allowed: \[0, 1\] and 0.15"):
        _evaluate(models, examples)
    assert not results.select(results.read(models / "results.csv"), attack="pgd")
    (check,) = checks.read(models / "checks.json")
    assert (check.number, check.verdict) == (2, "failed")


@functools.wraps(pgd)
def _leave_the_ball(model: object, images: torch.Tensor, labels: object, **_: object) -> Result:
    nothing = np.zeros(len(images), np.int64)
    return Result(torch.clamp(images + 0.2, 0, 1), nothing, nothing)


@pytest.mark.parametrize("change", [0.2001, float("nan")])
def test_a_pixel_moved_too_far_is_found(change: float) -> None:
    images = np.full((2, 1, 28, 28), 0.5, np.float32)
    bench.check_ball(images, images + np.float32(0.2), 0.2)
    with pytest.raises(BallError, match=r"allowed: \[0, 1\] and 0.2"):
        bench.check_ball(images, images + np.float32(change), 0.2)


def test_each_norm_has_its_own_ball() -> None:
    images = np.zeros((1, 1, 28, 28), np.float32)
    moved = images.copy()
    moved[0, 0, :2, :2] = 0.5
    bench.check_ball(images, moved, 1.0, "l2")
    bench.check_ball(images, moved, 4, "l0")
    with pytest.raises(BallError, match=r"1\.000000 away in l2"):
        bench.check_ball(images, moved, 0.99, "l2")
    with pytest.raises(BallError, match=r"4\.000000 away in l0"):
        bench.check_ball(images, moved, 3, "l0")


def test_a_pixel_outside_the_range_is_found() -> None:
    black = np.zeros((2, 1, 28, 28), np.float32)
    with pytest.raises(BallError, match="span"):
        bench.check_ball(black, black - np.float32(0.1), 0.2)


def test_the_rows_of_a_tampered_models_folder_are_never_measured(models: Path, examples: Examples) -> None:
    with (models / "mnist" / "classifier.weights").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ManifestError, match="SHA-256"):
        _evaluate(models, examples)
