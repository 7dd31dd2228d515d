"""`python -m training descent`: what Defense-GAN's steps L and restarts R buy, on the shipped graphs' weights.

One descent of the most steps from the most starts gives all: restarts do not know of each other. Into
models/defense_gan.csv; figures are drawn from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from service import manifest as manifests
from training import metrics, row_files
from training.commit import current_commit
from training.data import Examples
from training.drawing import BLUE, GREEN, ORANGE, TITLES, VERMILION
from training.pipeline import Pipeline, TorchWhiteBox
from training.protocols import RIVALS_FGSM_EPS
from training.purifiers.defense_gan import DefenseGAN
from training.served import load_pipeline

FILE_NAME = "defense_gan.csv"
STEPS = (25, 50, 100, 200)
RESTARTS = (1, 2, 5, 10)
_BATCH = 20
_COLORS = (ORANGE, GREEN, BLUE, VERMILION)
DEFENSE = "defense_gan"


@dataclass(frozen=True)
class Point:
    """Accuracies in [0, 1] of so many steps and restarts, on the same n test images; FGSM is oblivious.

    `work` is the number of gradients, steps x restarts, as a share of the most: the time an image takes.
    """

    dataset: str
    steps: int
    restarts: int
    work: float
    clean_accuracy: float
    fgsm_eps: float
    robust_accuracy: float
    n: int
    commit: str


def measure(dataset: str, test: Examples, models: Path) -> list[Point]:
    """The curve of one data set, put into models/defense_gan.csv in place of its old one.

    Raises:
        ManifestError: no Defense-GAN is shipped for it.
    """
    pipeline = load_pipeline(models, manifests.read(models), dataset, DEFENSE)
    attacked = _fgsm(pipeline, test)
    found = {"clean": _right(pipeline, test.images, test.labels), "fgsm": _right(pipeline, attacked, test.labels)}
    points = [
        Point(
            dataset=dataset,
            steps=steps,
            restarts=restarts,
            work=steps * restarts / (STEPS[-1] * RESTARTS[-1]),
            clean_accuracy=round(found["clean"][steps, restarts], 4),
            fgsm_eps=RIVALS_FGSM_EPS,
            robust_accuracy=round(found["fgsm"][steps, restarts], 4),
            n=len(test),
            commit=current_commit(),
        )
        for steps in STEPS
        for restarts in RESTARTS
    ]
    others = [point for point in read(models / FILE_NAME) if point.dataset != dataset]
    row_files.write(models / FILE_NAME, others + points, Point)
    return points


def read(path: Path) -> list[Point]:
    """All points; none where the file does not exist.

    Raises:
        EvaluationError: the file is not what `measure` writes.
    """
    return row_files.read(path, Point)


def drawn(points: Sequence[Point]) -> Figure:
    """Accuracy against work, a panel for each data set and a line for each number of restarts."""
    datasets = tuple(dict.fromkeys(point.dataset for point in points))
    figure = Figure(figsize=(4.4 * len(datasets), 3.4), layout="constrained")
    for axis, dataset in zip(figure.subplots(1, len(datasets), squeeze=False)[0], datasets, strict=True):
        for restarts, color in zip(RESTARTS, _COLORS, strict=True):
            line = [point for point in points if (point.dataset, point.restarts) == (dataset, restarts)]
            work = [point.work for point in line]
            axis.plot(work, [point.robust_accuracy for point in line], "o-", color=color, label=f"R = {restarts}")
            axis.plot(work, [point.clean_accuracy for point in line], ":", color=color)
        axis.set(title=f"{TITLES.get(dataset, dataset)} (n {line[0].n})", xscale="log")
        axis.set_xlabel("gradients an image, of those of L = 200 and R = 10")
        axis.set_ylabel(f"accuracy under FGSM {RIVALS_FGSM_EPS:g}, oblivious;\ndotted: clean", fontsize=9)
        axis.legend()
    return figure


def _fgsm(pipeline: Pipeline, test: Examples) -> Tensor:
    model = TorchWhiteBox(pipeline.classifier)
    parts = zip(torch.split(test.images, _BATCH), torch.split(test.labels, _BATCH), strict=True)
    signs = torch.cat([model.loss_gradient(images, labels)[1].sign() for images, labels in parts])
    return (test.images + RIVALS_FGSM_EPS * signs).clamp(0, 1)


def _right(pipeline: Pipeline, images: Tensor, labels: Tensor) -> dict[tuple[int, int], float]:
    """Accuracy by (steps, restarts)."""
    drawn_images: dict[tuple[int, int], list[Tensor]] = {}
    for batch in tqdm(torch.split(images, _BATCH), desc="descent", unit="batch"):
        for key, purified in _descend(cast(DefenseGAN, pipeline.purifier.purifier), batch):
            drawn_images.setdefault(key, []).append(purified)
    return {
        key: metrics.accuracy(metrics.predict(pipeline.classifier, torch.cat(parts)), labels)
        for key, parts in drawn_images.items()
    }


def _descend(purifier: DefenseGAN, images: Tensor) -> Iterator[tuple[tuple[int, int], Tensor]]:
    codes, velocity = purifier.begin(torch.zeros(len(images), *purifier.noise_shape))
    for step in range(1, STEPS[-1] + 1):
        codes, velocity = purifier.step(codes, velocity, images)
        if step in STEPS:
            for restarts in RESTARTS:
                few = DefenseGAN(purifier.noise_std, restarts=restarts)
                few.generator = purifier.generator
                with torch.no_grad():
                    yield (step, restarts), few.choose(codes[:, :restarts], images)
