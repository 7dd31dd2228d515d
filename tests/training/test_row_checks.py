from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest

from tests.training.rows import ROW
from training import row_checks
from training.measurement import AttackSpec
from training.outcome import FAILED, NOT_RUN, PASSED
from training.protocols import DEFAULT_SIZES, HEADLINE_FGSM_EPS, measurements
from training.results import Row

PGD = replace(ROW, attack="pgd", eps=0.15, steps=40, step_size=0.009375, robust_accuracy=0.9)
ADAPTIVE = replace(PGD, knowledge="adaptive", robust_accuracy=0.2)
ALONE = replace(PGD, defense="none", noise="", robust_accuracy=0.0)


def test_a_walk_that_cannot_cross_the_ball_is_named_with_its_reach() -> None:
    assert row_checks.reach([PGD]).verdict == PASSED
    assert row_checks.reach([replace(PGD, steps=80, step_size=0.004687)]).verdict == PASSED
    short = row_checks.reach([PGD, replace(PGD, steps=7, step_size=0.01)])
    assert short.verdict == FAILED
    assert "reaches 0.07 only" in short.why
    assert row_checks.reach([ROW]).verdict == NOT_RUN


@pytest.mark.parametrize(("accuracy", "verdict"), [(0.9, PASSED), (0.952, PASSED), (0.96, FAILED)])
def test_accuracy_may_rise_with_eps_by_a_standard_error_only(accuracy: float, verdict: str) -> None:
    low = replace(ROW, eps=0.3, robust_accuracy=0.95)
    high = replace(ROW, eps=0.6, robust_accuracy=accuracy)
    assert row_checks.monotone([high, low]).verdict == verdict


def test_a_curve_that_rises_is_told_of_once_by_its_farthest_points() -> None:
    accuracies = {0.1: 0.6, 0.3: 0.5, 0.5: 0.8, 0.6: 0.9, 1.0: 0.1}
    found = row_checks.monotone([replace(ROW, eps=eps, robust_accuracy=value) for eps, value in accuracies.items()])
    expected = "fgsm eps 0.6 (oblivious) on autoencoder, noise zero leaves 0.9000, eps 0.3 0.5000, n"
    assert found.why.startswith(expected)
    assert found.why.count("leaves") == 1


def test_only_rows_on_the_same_images_and_attack_make_a_curve() -> None:
    low = replace(ROW, eps=0.3, robust_accuracy=0.1)
    others = [
        replace(low, n=100),
        replace(low, knowledge="adaptive"),
        replace(low, attack="pgd"),
        replace(low, noise=""),
    ]
    assert row_checks.monotone([ROW, *others]).verdict == NOT_RUN


@pytest.mark.parametrize(
    ("alone", "through", "verdict"), [(0.0, 0.1, PASSED), (0.01, 0.0, FAILED), (0.0, 0.11, FAILED)]
)
def test_an_unbounded_attack_leaves_nothing(alone: float, through: float, verdict: str) -> None:
    rows = [replace(ALONE, eps=1.0, robust_accuracy=alone), replace(ADAPTIVE, eps=1.0, robust_accuracy=through)]
    assert row_checks.unbounded(rows, "autoencoder").verdict == verdict
    half = row_checks.unbounded(rows[:1], "autoencoder")
    assert (half.verdict == FAILED) if alone > 0 else ("--protocol adaptive" in half.why)


def _strength_rows(doubled: float, fgsm: float) -> list[Row]:
    rows = []
    for row in (replace(ALONE, robust_accuracy=0.2), ADAPTIVE):
        rows += [row, replace(row, steps=80, robust_accuracy=doubled)]
        rows += [replace(row, attack="fgsm", steps=1, robust_accuracy=fgsm)]
    return rows


@pytest.mark.parametrize(
    ("doubled", "fgsm", "verdict"), [(0.195, 0.5, PASSED), (0.19, 0.5, FAILED), (0.2, 0.1, FAILED)]
)
def test_pgd_is_as_strong_as_fgsm_and_gains_nothing_from_more_steps(doubled: float, fgsm: float, verdict: str) -> None:
    assert row_checks.strength(_strength_rows(doubled, fgsm), "autoencoder").verdict == verdict


def test_steps_are_compared_on_the_same_images_only() -> None:
    rows = [row for row in _strength_rows(0.2, 0.5) if row.steps != 40]
    few = [replace(row, n=100, robust_accuracy=0.4) for row in _strength_rows(0.2, 0.5) if row.steps == 40]
    assert row_checks.strength([*rows, *few], "autoencoder").verdict == NOT_RUN


def _noises(adaptive: tuple[float, float, float]) -> list[Row]:
    noises = ("zero", "fixed", "drawn")
    oblivious = [replace(PGD, noise=noise) for noise in noises]
    return oblivious + [
        replace(ADAPTIVE, noise=noise, robust_accuracy=share) for noise, share in zip(noises, adaptive, strict=True)
    ]


@pytest.mark.parametrize(
    ("adaptive", "verdict"),
    [((0.2, 0.2, 0.3), PASSED), ((0.95, 0.2, 0.96), FAILED), ((0.4, 0.2, 0.3), FAILED), ((0.2, 0.4, 0.3), FAILED)],
)
def test_knowing_more_never_helps_less(adaptive: tuple[float, float, float], verdict: str) -> None:
    assert row_checks.adaptive_beats_oblivious(_noises(adaptive), "autoencoder").verdict == verdict


def test_the_strongest_of_several_attacks_with_noise_counts() -> None:
    rows = _noises((0.3, 0.3, 0.3))
    stronger = replace(rows[-1], eot=20, robust_accuracy=0.1)
    assert row_checks.adaptive_beats_oblivious([*rows, stronger], "autoencoder").verdict == FAILED


def test_every_number_of_images_that_two_attacks_share_is_judged() -> None:
    """Looks of many draws stand on fewer images than looks of one."""
    rows = _noises((0.3, 0.3, 0.3))
    few = [replace(row, n=100, robust_accuracy=0.3) for row in rows if row.knowledge == "adaptive"]
    stronger = replace(rows[-1], n=100, eot=20, robust_accuracy=0.01)
    assert row_checks.adaptive_beats_oblivious([*rows, *few], "autoencoder").verdict == PASSED
    found = row_checks.adaptive_beats_oblivious([*rows, *few, stronger], "autoencoder")
    assert (found.verdict, "adaptive, noise drawn 0.0100, n 100" in found.why) == (FAILED, True)


def test_pgd_and_fgsm_are_compared_on_the_same_images_where_there_are_such_rows() -> None:
    rows = _strength_rows(0.2, 0.5)
    easier = [replace(row, n=100_000, robust_accuracy=0.1) for row in rows if row.attack == "fgsm"]
    assert row_checks.strength([*rows, *easier], "autoencoder").verdict == PASSED


@pytest.mark.parametrize(("defense", "protocol"), [("autoencoder", "adaptive"), ("autoencoder_robust", "robust")])
def test_what_was_not_measured_names_the_protocol_that_does(defense: str, protocol: str) -> None:
    found = [row_checks.unbounded([], defense), row_checks.strength([], defense), row_checks.worst_case([], defense)]
    assert all(f"--protocol {protocol}`" in outcome.why for outcome in found)


def _rivals(square: float) -> list[Row]:
    rivals = [("pgd_identity", "adaptive"), ("pgd_transfer", "black_box"), ("random_noise", "black_box")]
    rows = [replace(PGD, attack=attack, knowledge=knowledge) for attack, knowledge in rivals]
    return [ADAPTIVE, PGD, *rows, replace(PGD, attack="square", knowledge="black_box", robust_accuracy=square)]


def test_an_attack_that_sees_less_and_does_more_marks_the_row_as_masked() -> None:
    honest, masked = (row_checks.masking(_rivals(share), "autoencoder") for share in (0.5, 0.1))
    assert (honest.verdict, honest.measured["masked"]) == (PASSED, 0.0)
    assert (masked.verdict, masked.measured["masked"]) == (FAILED, 1.0)
    assert "square (black_box) 0.1000" in masked.why
    assert row_checks.masking(_rivals(0.5)[:-1], "autoencoder").verdict == NOT_RUN


@pytest.mark.parametrize(("worst", "verdict"), [(0.15, PASSED), (0.25, FAILED)])
def test_the_worst_case_is_no_better_than_any_attack(worst: float, verdict: str) -> None:
    row = replace(ADAPTIVE, attack="worst_case", steps=0, restarts=7, robust_accuracy=worst)
    doubled = replace(ADAPTIVE, steps=80, robust_accuracy=0.01)  # which only check 6 needs
    fewer = replace(row, restarts=3, n=100_000, robust_accuracy=0.9)
    assert row_checks.worst_case([row, fewer, doubled, PGD, ADAPTIVE], "autoencoder").verdict == verdict


@pytest.mark.parametrize(
    ("clean", "fgsm", "towards", "leaking"),
    [(0.99, 0.95, 0.95, False), (0.87, 0.91, 0.91, True), (0.95, 0.91, 0.87, True), (0.95, 0.91, 0.89, False)],
)
def test_label_leaking_is_told_by_clean_accuracy_or_the_least_likely_class(
    clean: float, fgsm: float, towards: float, leaking: bool
) -> None:
    row = replace(ROW, clean_accuracy=clean, robust_accuracy=fgsm)
    rows = [row, replace(row, attack="fgsm_least_likely", robust_accuracy=towards)]
    assert row_checks.leaks_label(rows, row) is leaking
    assert row_checks.leaking(rows, ["autoencoder"]).verdict == (FAILED if leaking else PASSED)
    assert row_checks.leaking(rows[:1], ["autoencoder"]).verdict == NOT_RUN


def test_a_defense_that_draws_no_noise_is_judged_for_leaking_too() -> None:
    row = replace(ROW, defense="distillation", noise="", clean_accuracy=0.95, robust_accuracy=0.91)
    rows = [row, replace(row, attack="fgsm_least_likely", robust_accuracy=0.87)]
    assert row_checks.leaking(rows, ["distillation"]).verdict == FAILED


def test_what_table_3_measures_lets_every_rival_be_judged_for_leaking() -> None:
    rivals = ("puvae", "defense_gan", "distillation")
    plan = measurements("table3", "mnist", ("autoencoder", *rivals), DEFAULT_SIZES["table3"])
    labels: tuple[Literal["true", "least_likely"], ...] = ("true", "least_likely")
    for label in labels:
        headline = AttackSpec("fgsm", HEADLINE_FGSM_EPS, label=label)
        answering = {view.defense for one in plan if one.spec == headline for view in one.views}
        assert answering >= {"autoencoder", *rivals}


def test_a_defense_is_judged_at_the_budget_that_it_was_trained_for() -> None:
    near = _rivals(0.5)
    far = [replace(row, eps=0.3, robust_accuracy=0.05 if row.attack == "square" else 0.2) for row in near]
    assert row_checks.masking([*near, *far], "autoencoder").verdict == PASSED
    assert row_checks.masking([*near, *far], "autoencoder", 0.3).verdict == FAILED
    noises = [replace(row, eps=0.3) for row in _noises((0.95, 0.95, 0.96))]
    assert row_checks.adaptive_beats_oblivious(noises, "autoencoder", 0.15).verdict == NOT_RUN
    assert row_checks.adaptive_beats_oblivious(noises, "autoencoder", 0.3).verdict == FAILED
    doubled = [row for row in _strength_rows(0.2, 0.5) if row.defense == "none"]
    doubled += [replace(row, eps=0.3) for row in _strength_rows(0.1, 0.5) if row.defense != "none"]
    assert row_checks.strength(doubled, "autoencoder").verdict == NOT_RUN
    assert row_checks.strength(doubled, "autoencoder", 0.3).verdict == FAILED
