from __future__ import annotations

from dataclasses import replace

import pytest

from tests.training.rows import ROW
from training import precisions
from training.outcome import FAILED, NOT_RUN, PASSED

QUICK = replace(ROW, precision="int8", artefact="b", robust_accuracy=0.948)


@pytest.mark.parametrize(("accuracy", "verdict"), [(0.947, PASSED), (0.953, PASSED), (0.9468, FAILED), (0.96, FAILED)])
def test_int8_may_be_three_tenths_of_a_point_away(accuracy: float, verdict: str) -> None:
    found = precisions.close([ROW, replace(QUICK, robust_accuracy=accuracy)])
    assert found.verdict == verdict
    assert f"fp32 0.9500, int8 {accuracy:.4f}" in found.why


def test_a_part_of_the_test_set_does_not_answer_the_check() -> None:
    part = [replace(row, n=100, robust_accuracy=0.5) for row in (ROW, QUICK)]
    found = precisions.close(part)
    assert found.verdict == NOT_RUN
    assert "--protocol precision" in found.why


def test_only_the_same_attack_on_the_same_images_is_compared() -> None:
    others = [replace(ROW, eps=0.3), replace(ROW, n=5_000), replace(ROW, attack="pgd"), replace(ROW, dataset="other")]
    assert precisions.close([*others, QUICK]).verdict == NOT_RUN


def test_the_table_has_a_line_for_each_pair() -> None:
    clean = [replace(row, attack="none", eps=0.0, knowledge="", robust_accuracy=0.99) for row in (ROW, QUICK)]
    text = precisions.written([ROW, QUICK, *clean], ["mnist"])
    assert "| mnist | FGSM 0.6¹ | autoencoder | 0.9500 | 0.9480 |" in text
    assert "| mnist | – | autoencoder | 0.9900 | 0.9900 |" in text
    assert precisions.written([ROW], ["mnist"]) == "Not measured yet."
