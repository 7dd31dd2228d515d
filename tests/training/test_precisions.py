from __future__ import annotations

from dataclasses import replace

import pytest

from tests.training.rows import ROW
from training import precisions
from training.outcome import FAILED, NOT_RUN, PASSED
from training.results import Row

QUICK = replace(ROW, precision="int8", artefact="b", robust_accuracy=0.948)
HALF = replace(ROW, precision="fp16", artefact="c", robust_accuracy=0.9499)


@pytest.mark.parametrize("reduced", [QUICK, HALF])
@pytest.mark.parametrize(("accuracy", "verdict"), [(0.947, PASSED), (0.953, PASSED), (0.9468, FAILED), (0.96, FAILED)])
def test_a_precision_may_be_three_tenths_of_a_point_away(reduced: Row, accuracy: float, verdict: str) -> None:
    (other,) = {QUICK, HALF} - {reduced}
    found = precisions.close([ROW, other, replace(reduced, robust_accuracy=accuracy)])
    assert found.verdict == verdict
    assert f"fp32 0.9500, {reduced.precision} {accuracy:.4f}" in found.why


@pytest.mark.parametrize(("measured", "missing"), [(QUICK, "fp16"), (HALF, "int8")])
def test_a_precision_that_was_not_measured_leaves_the_check_open(measured: Row, missing: str) -> None:
    found = precisions.close([ROW, measured])
    assert found.verdict == NOT_RUN
    assert f"{missing} lacks attacks on 10,000 images" in found.why


def test_a_part_of_the_test_set_does_not_answer_the_check() -> None:
    part = [replace(row, n=100, robust_accuracy=0.5) for row in (ROW, QUICK, HALF)]
    found = precisions.close(part)
    assert found.verdict == NOT_RUN
    assert "--protocol precision" in found.why


def test_only_the_same_attack_on_the_same_images_is_compared() -> None:
    others = [replace(ROW, eps=0.3), replace(ROW, n=5_000), replace(ROW, attack="pgd"), replace(ROW, dataset="other")]
    assert precisions.close([*others, QUICK, HALF]).verdict == NOT_RUN


def test_the_table_has_a_line_for_each_pair() -> None:
    clean = [replace(row, attack="none", eps=0.0, knowledge="", robust_accuracy=0.99) for row in (ROW, QUICK)]
    text = precisions.written([ROW, QUICK, HALF, *clean], ["mnist"])
    assert "| mnist | FGSM 0.6¹ | autoencoder | 0.9500 | 0.9480 | 0.9499 |" in text
    assert "| mnist | – | autoencoder | 0.9900 | 0.9900 | – |" in text
    assert precisions.written([ROW], ["mnist"]) == "Not measured yet."


def test_an_attack_that_one_precision_was_measured_under_is_asked_of_the_other() -> None:
    exact, quick = (replace(row, attack="pgd", eps=0.15) for row in (ROW, QUICK))
    assert precisions.close([ROW, QUICK, HALF]).verdict == PASSED
    found = precisions.close([ROW, QUICK, HALF, exact, quick])
    assert found.verdict == NOT_RUN
    assert "fp16 lacks attacks" in found.why
