from __future__ import annotations

from dataclasses import replace

from tests.training.rows import ROW
from training import tables
from training.results import Row

PGD = replace(ROW, attack="pgd", eps=0.15, steps=40, robust_accuracy=0.96)
ADAPTIVE = replace(PGD, knowledge="adaptive", n=1_000, robust_accuracy=0.01, ci_low=0.005, ci_high=0.018)


def _line(text: str, *beginning: str) -> list[str]:
    """The cells of the one line that begins with these cells."""
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    (found,) = [line for line in lines if line[: len(beginning)] == list(beginning)]
    return found


def _headline() -> list[Row]:
    rows = []
    for defense, noise in (("none", ""), ("autoencoder", "zero"), ("autoencoder_paper", "zero")):
        rows += [
            replace(row, defense=defense, noise=noise) for row in (ROW, PGD, replace(ROW, attack="fgsm_least_likely"))
        ]
    return [*rows, ADAPTIVE]


def test_the_summary_sets_the_papers_figures_and_the_attackers_knowledge_beside_ours() -> None:
    stronger = replace(ADAPTIVE, attack="apgd_ce", steps=100, n=500, robust_accuracy=0.004)
    euclidean = replace(stronger, norm="l2", n=1_000, robust_accuracy=0.9)
    text = tables.summary([*_headline(), stronger, euclidean], ("mnist",))
    fgsm = ["oblivious", "0.9500", "0.2648", "0.9500", "0.9209", "0.9500"]
    assert _line(text, "mnist", "FGSM 0.6¹") == ["mnist", "FGSM 0.6¹", *fgsm]
    adaptive = ["**adaptive**", "–", "–", "0.0100 [0.005, 0.018] (n 1,000)", "–", "–"]
    assert _line(text, "mnist", "PGD 0.15 through the purifier")[2:] == adaptive
    assert _line(text, "mnist", "Auto-PGD 0.15 through the purifier")[5] == "0.0040 [0.005, 0.018] (n 500)"
    assert _line(text, "mnist", "none")[3:] == ["0.9900", "0.9901", "0.9900", "–", "0.9900"]
    assert "beyond the information limit" in text


def test_what_was_not_measured_says_so() -> None:
    text = tables.summary([], ("mnist",))
    assert _line(text, "mnist", "PGD 0.15")[3:] == ["–", "0.0418", "–", "0.9406", "–"]


def test_a_clean_cell_of_a_part_of_the_test_set_has_its_interval() -> None:
    assert tables.clean_share([replace(ROW, n=100)], "mnist", "autoencoder") == "0.9900 [0.946, 0.998] (n 100)"
    assert tables.clean_share([ROW], "mnist", "autoencoder") == "0.9900"


def test_a_leaking_cell_is_marked() -> None:
    leaking = replace(ROW, clean_accuracy=0.87, robust_accuracy=0.91)
    rows = [leaking, replace(leaking, attack="fgsm_least_likely", robust_accuracy=0.85)]
    assert _line(tables.defended(rows, ("mnist",)), "mnist", "FGSM 0.6¹")[5] == "0.9100²"


def test_table_1_has_the_papers_ten_and_six_eps_and_marks_those_beyond_the_limit() -> None:
    text = tables.undefended([replace(ROW, eps=0.1), replace(ADAPTIVE, attack="fgsm", eps=0.1)], ("mnist",), "fgsm")
    assert _line(text, "0.1") == ["0.1", "0.9099", "–", "0.9500", "0.0100 [0.005, 0.018] (n 1,000)"]
    first = [line.split("|")[1].strip() for line in text.splitlines()[2:]]
    assert first == ["0", "0.1", "0.2", "0.3", "0.4", "0.5¹", "0.6¹", "0.7¹", "1¹", "1.5¹"]
    clean = replace(ROW, attack="none", eps=0.0, knowledge="", defense="none", noise="", robust_accuracy=0.99)
    pgd = tables.undefended([clean], ("mnist",), "pgd")
    assert _line(pgd, "0")[:3] == ["0", "0.9922", "0.9900"]
    assert [line.split("|")[1].strip() for line in pgd.splitlines()[2:]] == ["0", "0.05", "0.1", "0.15", "0.2", "0.3"]


def test_at_eps_0_the_row_of_the_most_images_counts_whoever_attacks() -> None:
    clean = replace(ROW, attack="none", eps=0.0, knowledge="", robust_accuracy=0.99)
    rows = [clean, replace(ADAPTIVE, attack="fgsm", eps=0.0, n=200, robust_accuracy=1.0)]
    assert _line(tables.undefended(rows, ("mnist",), "fgsm"), "0")[4] == "0.9900"


def test_rows_that_only_checks_need_stay_out_of_the_tables() -> None:
    rows = [PGD, replace(PGD, steps=80, n=10_000, robust_accuracy=0.5)]
    assert _line(tables.undefended(rows, ("mnist",), "pgd"), "0.15")[3] == "0.9600"
    assert "0.5000" not in tables.informed(rows, ("mnist",), [])


def test_a_masked_gradient_is_marked_where_its_figure_stands() -> None:
    rows = [ADAPTIVE, replace(ADAPTIVE, noise="fixed")]
    text = tables.informed(rows, ("mnist",), ["mnist"])
    assert _line(text, "mnist", "PGD", "adaptive", "zero")[-1].endswith("**masked**")
    assert "masked" not in _line(text, "mnist", "PGD", "adaptive", "fixed")[-1]
    assert "masked" not in tables.informed(rows, ("mnist",), [])


def test_draws_of_the_noise_give_a_mean_and_a_deviation() -> None:
    shares = {0: 0.9, 1: 0.92, 2: 0.94}
    rows = [replace(PGD, noise="drawn", seed=seed, robust_accuracy=share) for seed, share in shares.items()]
    rows.append(replace(ADAPTIVE, noise="drawn", eot=1, robust_accuracy=0.5))
    rows.append(replace(ADAPTIVE, noise="drawn", eot=20, n=100, robust_accuracy=0.3))
    line = _line(tables.ablation(rows, ("mnist",)), "mnist", "autoencoder", "drawn")
    assert line[-2] == "0.9200 ± 0.0200 (3 draws)"
    assert line[-1].startswith("0.3000")
    assert line[-1].endswith("(n 100), 20 looks a gradient")


def test_training_seeds_are_told_apart_by_their_weights() -> None:
    others = [replace(PGD, artefact=name, robust_accuracy=share) for name, share in (("b", 0.94), ("c", 0.98))]
    text = tables.mixes([PGD], others, ("mnist",))
    assert _line(text, "mnist", "autoencoder, as shipped")[-2] == "0.9600"
    assert _line(text, "mnist", "autoencoder")[-2] == "0.9600 ± 0.0283 (2 seeds)"


def test_the_matrix_shows_every_other_mix_beside_the_shipped_one() -> None:
    other = replace(PGD, defense="autoencoder_fgsm", artefact="b", robust_accuracy=0.4)
    knows = replace(ADAPTIVE, defense="autoencoder_fgsm", artefact="b", robust_accuracy=0.2, n=10_000)
    text = tables.mixes([PGD], [other, knows], ("mnist",))
    assert _line(text, "mnist", "autoencoder, as shipped")[-2:] == ["0.9600", "–"]
    assert _line(text, "mnist", "autoencoder_fgsm")[-2:] == ["0.4000", "0.2000"]
