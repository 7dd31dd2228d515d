from __future__ import annotations

from dataclasses import replace

from tests.training.rows import ROW
from training import robust_table

_OURS = replace(ROW, defense="autoencoder_robust", attack="pgd", eps=0.3, steps=40)
_KNOWN = replace(_OURS, knowledge="adaptive", n=1_000, robust_accuracy=0.91, ci_low=0.89, ci_high=0.926)
_ROWS = [
    _OURS,
    replace(_OURS, defense="none", noise="", robust_accuracy=0.0),
    _KNOWN,
    replace(_KNOWN, defense="autoencoder", robust_accuracy=0.0, ci_low=0.0, ci_high=0.004),
    replace(_KNOWN, attack="autoattack", steps=100, n=100, robust_accuracy=0.88),
    replace(_KNOWN, attack="square", knowledge="black_box", steps=5_000, robust_accuracy=0.92),
    replace(_KNOWN, eps=0.15, robust_accuracy=0.97),
]


def test_each_line_says_what_the_attacker_knows_and_sets_both_purifiers_side_by_side() -> None:
    text = robust_table.written(_ROWS, ("mnist",))
    assert "| mnist | PGD 0.3 | oblivious | 0.0000 | – | 0.9500 |" in text
    both = "0.0000 [0.000, 0.004] (n 1,000) | 0.9100 [0.890, 0.926] (n 1,000)"
    assert f"| mnist | PGD 0.3 | **adaptive** | – | {both} |" in text
    assert "| mnist | AutoAttack 0.3 | **adaptive** | – | – | 0.8800 [0.890, 0.926] (n 100) |" in text
    assert "| mnist | Square 0.3 | **black_box** |" in text
    assert "0.9700" not in text


def test_the_summary_keeps_to_attackers_who_know() -> None:
    text = robust_table.summary(_ROWS, ("mnist",))
    assert "AutoAttack 0.3" in text
    assert "Square" not in text
