"""Figures that are drawn from the served graphs: attacked test images over eps, and what the purifier makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from service.attacks import fgsm, pgd
from service.catalog import DEFAULT_DEFENSE, Catalog, FloatArray, IntArray
from training.drawing import RIGHT, TITLES, WRONG
from training.protocols import FGSM_EPS, HEADLINE_FGSM_EPS, HEADLINE_PGD_EPS, PGD_EPS

_CLASSES = 10
_SHOWN_SAMPLE = 7
BUDGETS = {"fgsm": FGSM_EPS, "pgd": (0.0, *PGD_EPS)}


def rescue(catalog: Catalog, dataset: str) -> Figure:
    """The first sample of each class: clean, under FGSM and PGD (oblivious), purified, with the answers."""
    images, labels = _samples(catalog, dataset, list(range(_CLASSES)))
    under_fgsm, under_pgd = (
        _attacked(catalog, dataset, attack, images, labels, eps)
        for attack, eps in (("fgsm", HEADLINE_FGSM_EPS), ("pgd", HEADLINE_PGD_EPS))
    )
    rows = [
        ("clean", images),
        (f"FGSM ε={HEADLINE_FGSM_EPS:g}", under_fgsm),
        ("purified", _purified(catalog, dataset, under_fgsm)),
        (f"PGD ε={HEADLINE_PGD_EPS:g}", under_pgd),
        ("purified", _purified(catalog, dataset, under_pgd)),
    ]
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    axes = figure.subplots(len(rows), _CLASSES)
    for (title, row), line in zip(rows, axes, strict=True):
        answers = catalog.classifier(dataset).logits(row).argmax(axis=1)
        for axis, image, answer, label in zip(line, row, answers, labels, strict=True):
            _show(axis, image)
            _name(axis, catalog.class_names(dataset)[answer], right=bool(answer == label))
        line[0].set_ylabel(title, fontsize=11)
    figure.suptitle(
        f"{TITLES.get(dataset, dataset)}: what VGG-16 answers (blue right, orange wrong); oblivious attacker"
    )
    return figure


def attacked_over_eps(catalog: Catalog, attack: str) -> Figure:
    """One sample of each data set under an oblivious attack: the image, its perturbation and the purified image."""
    budgets = BUDGETS[attack]
    kinds = ("attacked", "perturbation", "purified")
    figure = Figure(figsize=(1.15 * len(budgets) + 0.6, 1.42 * 3 * len(catalog.datasets) + 0.5), layout="constrained")
    axes = figure.subplots(len(kinds) * len(catalog.datasets), len(budgets), squeeze=False)
    for place, dataset in enumerate(catalog.datasets):
        block = axes[len(kinds) * place : len(kinds) * (place + 1)]
        for column, eps in enumerate(budgets):
            _draw_column(catalog, dataset, attack, eps, [line[column] for line in block])
        for line, kind in zip(block, kinds, strict=True):
            line[0].set_ylabel(kind, fontsize=10)
    for axis, eps in zip(axes[0], budgets, strict=True):
        axis.set_title(f"ε={eps:g}", fontsize=10)
    figure.suptitle(
        f"{attack.upper()}, oblivious: VGG-16's answers (blue right, orange wrong); perturbations in units of ε",
        fontsize=11,
    )
    return figure


def _draw_column(catalog: Catalog, dataset: str, attack: str, eps: float, axes: Sequence[Axes]) -> None:
    images, labels = _samples(catalog, dataset, [_SHOWN_SAMPLE])
    adv_images = _attacked(catalog, dataset, attack, images, labels, eps)
    purified = _purified(catalog, dataset, adv_images)
    _show(axes[0], adv_images[0])
    perturbation = (adv_images - images)[0, 0] / max(eps, 1e-9)
    axes[1].imshow(perturbation, cmap="PuOr", vmin=-1, vmax=1, interpolation="nearest")
    _bare(axes[1])
    _show(axes[2], purified[0])
    for axis, shown in ((axes[0], adv_images), (axes[2], purified)):
        answer = int(catalog.classifier(dataset).logits(shown).argmax(axis=1)[0])
        _name(axis, catalog.class_names(dataset)[answer], right=answer == int(labels[0]))


def _samples(catalog: Catalog, dataset: str, places: list[int]) -> tuple[FloatArray, IntArray]:
    samples = catalog.samples(dataset)
    return (samples.images[places, None] / 255).astype(np.float32), samples.labels[places]


def _attacked(
    catalog: Catalog,
    dataset: str,
    attack: str,
    images: FloatArray,
    labels: IntArray,
    eps: float,
) -> FloatArray:
    model = catalog.white_box(dataset)
    if attack == "fgsm":
        return cast(FloatArray, fgsm(model, images, labels, eps=eps).adv_images)
    return cast(FloatArray, pgd(model, images, labels, eps=eps, rng=np.random.default_rng(0)).adv_images)


def _purified(catalog: Catalog, dataset: str, images: FloatArray) -> FloatArray:
    purifier = catalog.purifier(dataset, DEFAULT_DEFENSE)
    return images if purifier is None else purifier.purify(images)


def _show(axis: Axes, image: FloatArray) -> None:
    axis.imshow(image[0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    _bare(axis)


def _bare(axis: Axes) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


def _name(axis: Axes, text: str, *, right: bool) -> None:
    axis.set_xlabel(text, color=RIGHT if right else WRONG, fontsize=9, fontweight="normal" if right else "bold")
