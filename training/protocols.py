"""What each protocol measures: attacks, budgets and how many images. See the paper's tables 1 and 2.

PGD is L-inf with 40 steps of 2.5 eps / 40 from a random start; FGSM is one step of eps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from service.catalog import DEFAULT_DEFENSE, NO_DEFENSE
from service.precision import REDUCED
from training import autoattack, zoo
from training.config import ONE_ATTACK
from training.errors import EvaluationError
from training.measurement import CLEAN, LONG, SLOW, UNDEFENDED, AttackSpec, Measurement, Noise, View
from training.robust_recipes import ROBUST, ROBUST_DEFENSE

FGSM_EPS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 1.0, 1.5)
PGD_EPS = (0.05, 0.1, 0.15, 0.2, 0.3)
HEADLINE_FGSM_EPS = 0.6
HEADLINE_PGD_EPS = 0.15
RIVALS_FGSM_EPS = 0.3
PGD_STEPS = 40
# From this eps on any image can be turned into a plain grey one.
INFORMATION_LIMIT = 0.5
DOUBLE_STEPS = 2 * PGD_STEPS
EOT_DRAWS = 20
SQUARE_QUERIES = zoo.SQUARE_QUERIES
NOISE_SEEDS = (0, 1, 2)
PAPER_DEFENSE = "autoencoder_paper"
# Seconds an image: they are measured on fewer.
SLOW_DEFENSES = frozenset({"defense_gan"})
_WITHOUT_NOISE = frozenset({NO_DEFENSE, "distillation"})
_OURS = (DEFAULT_DEFENSE, ROBUST_DEFENSE, PAPER_DEFENSE)
Plan = Callable[[tuple[str, ...], "Sizes"], Iterator[Measurement]]
# What a check sets side by side: on these very images, whatever other protocols have measured on more.
_compared = partial(Measurement, exactly=True)
PROTOCOLS = ("paper", "adaptive", "robust", "quick", "zoo", "precision", "table3", "ablation")
OF_ONE_DEFENSE = ("adaptive", "quick", "zoo")

_FGSM = AttackSpec("fgsm", HEADLINE_FGSM_EPS)
_LEAKING = replace(_FGSM, label="least_likely")
_PGD = AttackSpec("pgd", HEADLINE_PGD_EPS, steps=PGD_STEPS, random_start=True)


@dataclass(frozen=True)
class Sizes:
    """Test images for the paper's Table 2 (FGSM and clean; PGD), for all else, for what only the checks need, for
    attacks and defenses that take seconds an image on a CPU, and for attacks that take a hundred gradients an image
    (Auto-PGD, DDN, DeepFool).
    """

    n: int
    pgd_n: int
    sweep_n: int
    check_n: int
    slow_n: int = 100
    long_n: int = 500


DEFAULT_SIZES = {
    "paper": Sizes(10_000, 10_000, 10_000, 400),
    "adaptive": Sizes(10_000, 1_000, 1_000, 400, slow_n=1_000, long_n=1_000),
    "robust": Sizes(10_000, 1_000, 0, 400, slow_n=1_000, long_n=1_000),
    "quick": Sizes(200, 50, 50, 50),
    "zoo": Sizes(500, 500, 500, 200),
    "precision": Sizes(10_000, 10_000, 0, 400),
    "table3": Sizes(10_000, 1_000, 0, 400, slow_n=500),
    "ablation": Sizes(10_000, 1_000, 0, 400),
}


def measurements(protocol: str, dataset: str, defenses: tuple[str, ...], sizes: Sizes) -> list[Measurement]:
    """The measurements of a protocol for the purifiers `defenses`, the shipped one first.

    Raises:
        EvaluationError: the protocol is about a defense that is not among them.
    """
    plans: dict[str, Plan] = {
        "paper": _paper, "adaptive": _adaptive, "quick": _quick, "zoo": _zoo, "precision": _precision,
        "table3": _table3, "robust": partial(_robust, dataset), "ablation": _ablation,
    }  # fmt: skip
    return list(plans[protocol](defenses, sizes))


def budget(dataset: str, defense: str) -> float:
    """The eps in L-inf within which a defense's worst case is sought: what it was trained for, else the paper's."""
    config = ROBUST.get((dataset, defense))
    return HEADLINE_PGD_EPS if config is None else config.eps


def worst_case(plan: Iterable[Measurement], view: View, eps: float) -> dict[AttackSpec, int]:
    """The attacks of a plan that `view` answers within `eps` in L-inf, and how many images each gets (check 10).

    All of them, however few images the slow ones get; but for the doubled walk, which only a check needs.
    """
    found: dict[AttackSpec, int] = {}
    for measurement in plan:
        spec = measurement.spec
        if view in measurement.views and spec.norm == "linf" and 0 < spec.eps <= eps and spec.steps != DOUBLE_STEPS:
            found[spec] = max(measurement.n, found.get(spec, 0))
    return found


def zero_noise(defense: str) -> View:
    """A defense as it is served without a seed; no defense at all for 'none'."""
    return View(defense, "" if defense in _WITHOUT_NOISE else "zero")


def _paper(defenses: tuple[str, ...], sizes: Sizes) -> Iterator[Measurement]:
    """The paper's tables: attackers are oblivious, that is they know the classifier and not the purifier."""
    shipped = (UNDEFENDED, zero_noise(defenses[0]))
    everyone = (UNDEFENDED, *map(zero_noise, _ours(defenses)))
    for attack, n in ((CLEAN, sizes.n), (_FGSM, sizes.n), (_LEAKING, sizes.n), (_PGD, sizes.pgd_n)):
        yield Measurement(attack, n, everyone)
    yield from (Measurement(attack, sizes.sweep_n, _other_noises(defenses)) for attack in (CLEAN, _FGSM, _PGD))
    sweep = [replace(_FGSM, eps=eps) for eps in FGSM_EPS] + [replace(_PGD, eps=eps) for eps in PGD_EPS]
    yield from (Measurement(attack, sizes.sweep_n, shipped) for attack in sweep if attack not in {_FGSM, _PGD})
    yield from _strength(_PGD, UNDEFENDED, sizes)


def _adaptive(defenses: tuple[str, ...], sizes: Sizes) -> Iterator[Measurement]:
    """Attackers who know the purifier, and those who know nothing and ask."""
    shipped = defenses[0]
    served = zero_noise(shipped)
    through = replace(_PGD, defense=shipped)
    n = sizes.pgd_n
    yield _compared(_PGD, n, (UNDEFENDED, served, *_noises(shipped, seeds=(0,))))
    yield _compared(through, n, (served,))
    yield from _auto_pgd(served, HEADLINE_PGD_EPS, sizes)
    yield _compared(replace(through, noise="fixed"), n, (View(shipped, "fixed"),))
    yield _compared(replace(through, noise="drawn"), n, (View(shipped, "drawn"),))
    yield _compared(replace(through, gradient="identity"), n, (served,))
    yield _compared(AttackSpec("random_noise", HEADLINE_PGD_EPS, defense=shipped), n, (served,))
    square = AttackSpec("square", HEADLINE_PGD_EPS, steps=SQUARE_QUERIES, defense=shipped)
    yield _compared(square, sizes.slow_n, (served,))
    yield _compared(through, sizes.slow_n, (served,))
    if PAPER_DEFENSE in defenses:
        on_paper = replace(_PGD, defense=PAPER_DEFENSE)
        yield _compared(on_paper, n, (zero_noise(PAPER_DEFENSE), served))
    sweep = [replace(_FGSM, defense=shipped, eps=eps) for eps in FGSM_EPS]
    sweep += [replace(through, eps=eps) for eps in PGD_EPS if eps != through.eps]
    yield from (Measurement(attack, sizes.sweep_n, (served,)) for attack in sweep)
    yield from _strength(through, served, sizes)
    yield Measurement(replace(through, noise="drawn", eot=EOT_DRAWS), sizes.slow_n, (View(shipped, "drawn"),))


def _robust(dataset: str, defenses: tuple[str, ...], sizes: Sizes) -> Iterator[Measurement]:
    """The purifier that was trained against attackers who know it, at its own budget, beside the shipped one."""
    if ROBUST_DEFENSE not in defenses:
        found = ", ".join(defenses)
        raise EvaluationError(
            f"no {ROBUST_DEFENSE} is exported for {dataset}; found: {found}. Train and export it first"
        )
    eps = budget(dataset, ROBUST_DEFENSE)
    plain, robust = zero_noise(defenses[0]), zero_noise(ROBUST_DEFENSE)
    bare = replace(_PGD, eps=eps)
    for attack, n in (
        (CLEAN, sizes.n),
        (_FGSM, sizes.n),
        (_LEAKING, sizes.n),
        (_PGD, sizes.pgd_n),
        (bare, sizes.pgd_n),
    ):
        yield Measurement(attack, n, (UNDEFENDED, plain, robust))
    through = replace(bare, defense=ROBUST_DEFENSE)
    fixed, drawn = (View(ROBUST_DEFENSE, noise) for noise in ("fixed", "drawn"))
    square = AttackSpec("square", eps, steps=SQUARE_QUERIES, defense=ROBUST_DEFENSE)
    everything = AttackSpec(autoattack.NAME, eps, steps=autoattack.STEPS, defense=ROBUST_DEFENSE)
    n = sizes.pgd_n
    yield _compared(through, n, (robust,))
    yield from _auto_pgd(robust, eps, sizes)
    yield Measurement(everything, sizes.slow_n, (robust,))
    yield _compared(square, sizes.slow_n, (robust,))
    yield _compared(through, sizes.slow_n, (robust,))
    yield Measurement(AttackSpec("fgsm", eps, defense=ROBUST_DEFENSE), n, (robust,))
    yield _compared(replace(through, defense=plain.defense), n, (plain, robust))
    yield _compared(replace(through, gradient="identity"), n, (robust,))
    yield _compared(AttackSpec("random_noise", eps, defense=ROBUST_DEFENSE), n, (robust,))
    yield from _strength(through, robust, sizes)
    yield _compared(bare, n, (robust, fixed, drawn))
    yield _compared(replace(through, noise="fixed"), n, (fixed,))
    yield _compared(replace(through, noise="drawn"), n, (drawn,))
    yield Measurement(replace(through, noise="drawn", eot=EOT_DRAWS), sizes.slow_n, (drawn,))


def _quick(defenses: tuple[str, ...], sizes: Sizes) -> Iterator[Measurement]:
    """A minute's worth, while developing."""
    everyone = (UNDEFENDED, *map(zero_noise, _ours(defenses)))
    yield Measurement(replace(_FGSM, eps=0.0), sizes.n, everyone)
    yield Measurement(_FGSM, sizes.n, everyone)
    yield Measurement(_LEAKING, sizes.n, everyone)
    yield Measurement(_PGD, sizes.pgd_n, everyone)
    yield Measurement(replace(_PGD, defense=defenses[0]), sizes.pgd_n, (zero_noise(defenses[0]),))


def _zoo(defenses: tuple[str, ...], sizes: Sizes) -> Iterator[Measurement]:
    """Every attack that the service knows, on the classifier and through the purifier."""
    served = zero_noise(defenses[0])
    yield Measurement(CLEAN, sizes.n, (UNDEFENDED, served))
    for spec in zoo.specs():
        few = {**dict.fromkeys(SLOW | {"square"}, sizes.slow_n), **dict.fromkeys(LONG, sizes.long_n)}
        n = few.get(spec.attack, sizes.n)
        yield Measurement(spec, n, (UNDEFENDED, served))
        yield Measurement(replace(spec, defense=defenses[0]), n, (served,))


def _precision(defenses: tuple[str, ...], sizes: Sizes) -> Iterator[Measurement]:
    """The int8 and fp16 classifiers beside the fp32 one, on images made on that, for the others ship no gradient."""
    exact = (UNDEFENDED, zero_noise(defenses[0]))
    views = (*exact, *(replace(view, precision=other) for other in REDUCED for view in exact))
    yield from (
        Measurement(attack, n, views) for attack, n in ((CLEAN, sizes.n), (_FGSM, sizes.n), (_PGD, sizes.pgd_n))
    )


def _table3(defenses: tuple[str, ...], sizes: Sizes) -> Iterator[Measurement]:
    """The paper's rivals beside ours, on attacks of an oblivious attacker; FGSM .30 is what their papers report."""
    rivals = [defense for defense in defenses if defense not in _OURS]
    fast = tuple(zero_noise(defense) for defense in rivals if defense not in SLOW_DEFENSES)
    slow = tuple(zero_noise(defense) for defense in rivals if defense in SLOW_DEFENSES)
    theirs = replace(_FGSM, eps=RIVALS_FGSM_EPS)
    attacks = ((CLEAN, sizes.n), (_FGSM, sizes.n), (_LEAKING, sizes.n), (theirs, sizes.pgd_n), (_PGD, sizes.pgd_n))
    for attack, n in attacks:
        yield Measurement(attack, n, (UNDEFENDED, *map(zero_noise, _ours(defenses)), *fast))
        if slow:
            yield Measurement(attack, min(n, sizes.slow_n), slow)


def _ablation(defenses: tuple[str, ...], sizes: Sizes) -> Iterator[Measurement]:
    """Purifiers of one attack each beside the one that meets both; of a models folder for trials."""
    of_one = {name for _, name in ONE_ATTACK}
    views = {name: zero_noise(name) for name in defenses if name == DEFAULT_DEFENSE or name in of_one}
    for attack, n in ((CLEAN, sizes.n), (_FGSM, sizes.n), (_LEAKING, sizes.n), (_PGD, sizes.pgd_n)):
        yield Measurement(attack, n, tuple(views.values()))
    yield from (Measurement(replace(_PGD, defense=name), sizes.pgd_n, (view,)) for name, view in views.items())


def _ours(defenses: tuple[str, ...]) -> list[str]:
    return [defense for defense in defenses if defense in _OURS]


def _auto_pgd(view: View, eps: float, sizes: Sizes) -> Iterator[Measurement]:
    """The two walks of AutoAttack that need no target, which find more than PGD does."""
    for name in ("apgd_ce", "apgd_dlr"):
        spec = AttackSpec(name, eps, steps=autoattack.STEPS, defense=view.defense)
        yield Measurement(spec, sizes.long_n, (view,))


def _strength(attack: AttackSpec, view: View, sizes: Sizes) -> Iterator[Measurement]:
    """What checks 5 and 6 compare: the same images with twice the steps, and with a budget that leaves nothing."""
    for spec in (attack, replace(attack, steps=DOUBLE_STEPS), replace(attack, eps=1.0)):
        yield _compared(spec, sizes.check_n, (view,))


def _other_noises(defenses: tuple[str, ...]) -> tuple[View, ...]:
    """How the shipped purifier answers with noise, and the paper's as the paper runs it."""
    paper = [View(PAPER_DEFENSE, "drawn", seed) for seed in NOISE_SEEDS if PAPER_DEFENSE in defenses]
    return (*_noises(defenses[0], NOISE_SEEDS), *paper)


def _noises(defense: str, seeds: tuple[int, ...]) -> tuple[View, ...]:
    drawn: Noise = "drawn"
    return (View(defense, "fixed"), *(View(defense, drawn, seed) for seed in seeds))
