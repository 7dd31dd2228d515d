"""Table 3 from the rows: what each defense holds, and what it costs. Knows no models and no files.

Times are multiples of the shipped auto-encoder's in the same run: on a CPU the milliseconds say more of the machine.
"""

from __future__ import annotations

from collections.abc import Sequence

from service.benchmark import PAPER_ACCURACY, PAPER_SECONDS
from service.catalog import DEFAULT_DEFENSE, NO_DEFENSE
from training.latencies import Latency, p50_ms
from training.protocols import HEADLINE_FGSM_EPS, HEADLINE_PGD_EPS, PAPER_DEFENSE, RIVALS_FGSM_EPS
from training.results import Row
from training.robust_recipes import ROBUST_DEFENSE
from training.tables import NOT_MEASURED, clean_share, find, share, table

DEFENSES = {
    NO_DEFENSE: "no defense",
    DEFAULT_DEFENSE: "our auto-encoder",
    ROBUST_DEFENSE: "our robust one",
    PAPER_DEFENSE: "the paper's, trained here",
    "puvae": "PuVAE",
    "defense_vae": "Defense-VAE",
    "defense_gan": "Defense-GAN",
    "distillation": "defensive distillation",
}
ATTACKS = (("fgsm", HEADLINE_FGSM_EPS), ("pgd", HEADLINE_PGD_EPS))
# What the rivals' own papers report.
_THEIRS = ("fgsm", RIVALS_FGSM_EPS)
NOTE = (
    "×: times the shipped auto-encoder's median, on the same pictures in the same run, in ONNX Runtime, fp32, warm, "
    "latent noise zero: of the purifier alone, and of the whole defense with its classifier, one picture and 64 at "
    "once. *torch eager*: the whole defense in PyTorch, times the same in ONNX Runtime. Milliseconds, percentiles and "
    "how many calls stand behind them are in [latency.csv]({}). The paper's seconds were measured on other hardware: "
    "only their ratios to its own auto-encoder can be set beside ours."
)
_FEW_CALLS = 20
# The paper's own auto-encoder, not ours, is what its table calls so.
_PAPER = {PAPER_DEFENSE: DEFAULT_DEFENSE}
_HEADER = (
    *("data set", "defense", "clean", "FGSM 0.3, oblivious", "FGSM 0.6¹, oblivious", "PGD 0.15, oblivious"),
    *("purify ×", "purify and classify ×", "× with 64 at once", "torch eager ×"),
    *("the paper: FGSM 0.6, oblivious", "the paper: seconds a picture"),
)


def devices(timings: Sequence[Latency]) -> list[str]:
    """What was timed on, the one with the most rows first."""
    names = [timing.device for timing in timings]
    return sorted(set(names), key=lambda name: (-names.count(name), name))


def written(rows: Sequence[Row], timings: Sequence[Latency], datasets: Sequence[str], where: str) -> str:
    """Table 3 for each device; `where` is the path to latency.csv from the text. Without timings accuracy alone."""
    found = devices(timings) or [""]
    return "\n".join(_of_device(rows, timings, datasets, device) for device in found) + "\n" + NOTE.format(where)


def _of_device(rows: Sequence[Row], timings: Sequence[Latency], datasets: Sequence[str], device: str) -> str:
    own = [timing for timing in timings if timing.device == device]
    lines = [_line(rows, own, dataset, name) for dataset in datasets for name in named(rows, own, dataset)]
    return (f"Timed on {device}:\n\n" if device else "") + table(_HEADER, lines)


def named(rows: Sequence[Row], timings: Sequence[Latency], dataset: str) -> list[str]:
    """The defenses that were measured or timed, known ones in their order."""
    names = {row.defense for row in rows if row.dataset == dataset}
    names |= {timing.defense for timing in timings if timing.dataset == dataset}
    order = list(DEFENSES)
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))


def _line(rows: Sequence[Row], timings: Sequence[Latency], dataset: str, defense: str) -> list[str]:
    accuracies = [clean_share(rows, dataset, defense)]
    accuracies += [share(find(rows, dataset, attack, defense)) for attack in (_THEIRS, *ATTACKS)]
    costs = [
        _times(timings, dataset, defense, "purify", 1),
        _times(timings, dataset, defense, "pipeline", 1),
        _times(timings, dataset, defense, "pipeline", 64),
        _eager(timings, dataset, defense),
    ]
    return [dataset, DEFENSES.get(defense, defense), *accuracies, *costs, *_printed(dataset, defense)]


def purify_ratio(timings: Sequence[Latency], dataset: str, defense: str) -> float | None:
    """How many times the shipped auto-encoder's time a purifier takes for one picture; None where it is not timed."""
    found, ours = (_served(timings, dataset, name, "purify", 1) for name in (defense, DEFAULT_DEFENSE))
    return None if found is None or ours is None else found.p50_ms / ours.p50_ms


def _times(timings: Sequence[Latency], dataset: str, defense: str, stage: str, batch: int) -> str:
    found, ours = (_served(timings, dataset, name, stage, batch) for name in (defense, DEFAULT_DEFENSE))
    if found is None or ours is None:
        return NOT_MEASURED
    return _multiple(found.p50_ms / ours.p50_ms) + (f" (n {found.n})" if found.n < _FEW_CALLS else "")


def _served(timings: Sequence[Latency], dataset: str, defense: str, stage: str, batch: int) -> Latency | None:
    """A timing in ONNX Runtime; the whole of a defense without a purifier is its classifier."""
    own = [row for row in timings if (row.dataset, row.defense, row.batch) == (dataset, defense, batch)]
    own = [row for row in own if row.runtime == "onnxruntime"]
    stages = (stage, "classify") if stage == "pipeline" else (stage,)
    return next((row for name in stages for row in own if row.stage == name), None)


def _eager(timings: Sequence[Latency], dataset: str, defense: str) -> str:
    served = _served(timings, dataset, defense, "pipeline", 1)
    if served is None:
        return NOT_MEASURED
    wanted = {"dataset": dataset, "defense": defense, "stage": served.stage, "batch": 1, "runtime": "torch"}
    eager = p50_ms(timings, **wanted)
    return NOT_MEASURED if eager is None else _multiple(eager / served.p50_ms)


def _printed(dataset: str, defense: str) -> tuple[str, str]:
    """The paper's figures, which are of MNIST."""
    name = _PAPER.get(defense, defense)
    if dataset != "mnist" or name not in PAPER_SECONDS or defense == DEFAULT_DEFENSE:
        return NOT_MEASURED, NOT_MEASURED
    ratio = _multiple(PAPER_SECONDS[name] / PAPER_SECONDS[DEFAULT_DEFENSE])
    return f"{PAPER_ACCURACY[name]:.4f}", f"{PAPER_SECONDS[name]:g} (× {ratio})"


def _multiple(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"
