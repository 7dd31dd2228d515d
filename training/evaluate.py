"""`python -m training evaluate`: accuracy of the served graphs under attack, into models/results.csv.

Attacks are made with torch on the weights of the served graphs; every answer that counts is the ONNX graph's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from service.catalog import NO_DEFENSE, Catalog
from service.inference import DeviceChoice
from training import metrics, results
from training.crafting import AttackSpec, Victim, craft
from training.data import Examples
from training.errors import EvaluationError
from training.export import current_commit
from training.protocols import Measurement, measurements
from training.results import Row
from training.served import artefact

_BATCH = 100
_BALL_TOLERANCE = 1e-6


def evaluate(
    dataset: str,
    protocol: str,
    *,
    test: Examples,
    models: Path,
    cache: Path,
    device: torch.device,
    n: int,
    pgd_n: int,
    sweep_n: int,
) -> list[Row]:
    """Measure a protocol and merge its rows into models/results.csv after each attack, so that nothing is lost.

    Raises:
        EvaluationError: an adversarial image leaves [0, 1] or its ball (check 2).
    """
    choice: DeviceChoice = "cuda" if device.type == "cuda" else "cpu"
    # The training environment holds the CPU build of ONNX Runtime: answers are the CPU's, attacks may be the GPU's.
    catalog = Catalog.load(models, "auto" if choice == "cuda" else "cpu")
    judge = _Judge(catalog, dataset, test)
    victim = Victim(models=models, dataset=dataset, device=device.type)
    plan = measurements(protocol, catalog.manifest.defenses(dataset), n=n, pgd_n=pgd_n, sweep_n=sweep_n)
    rows: list[Row] = []
    for measurement in plan:
        chosen = test.first(measurement.n)
        adv_images = craft(victim, measurement.spec, chosen, cache)
        check_ball(chosen.images, adv_images, measurement.spec.eps)
        new = list(judge.rows(measurement, adv_images))
        results.merge(models / results.FILE_NAME, new)
        rows += new
        for row in new:
            print(_line(row))
    return rows


def check_ball(images: Tensor, adv_images: Tensor, eps: float) -> None:
    """Check 2: adversarial images lie in [0, 1] and within eps + 1e-6 in L-inf.

    Raises:
        EvaluationError: one does not.
    """
    low, high = adv_images.min().item(), adv_images.max().item()
    largest = (adv_images - images).abs().max().item()
    if not (low >= 0 and high <= 1 and largest <= eps + _BALL_TOLERANCE):
        raise EvaluationError(
            f"adversarial images span [{low:.6f}, {high:.6f}] and move pixels by up to {largest:.6f}; "
            f"allowed: [0, 1] and {eps:g}"
        )


class _Judge:
    """Turns adversarial images into rows, with the served graphs' answers."""

    def __init__(self, catalog: Catalog, dataset: str, test: Examples) -> None:
        self._catalog = catalog
        self._dataset = dataset
        self._test = test
        self._commit = current_commit()
        self._clean: dict[str, Tensor] = {}

    def rows(self, measurement: Measurement, adv_images: Tensor) -> Iterator[Row]:
        """Undefended, then through each defense with the noise at zero, as it is served without a seed."""
        spec = measurement.spec
        if spec.defense != NO_DEFENSE:
            yield self._row(spec, spec.defense, adv_images)
            return
        yield self._row(spec, NO_DEFENSE, adv_images)
        for defense in measurement.defenses:
            yield self._row(spec, defense, adv_images)

    def _row(self, spec: AttackSpec, defense: str, adv_images: Tensor) -> Row:
        n = len(adv_images)
        labels = self._test.labels[:n]
        clean = metrics.accuracy(self._clean_predictions(defense)[:n], labels)
        robust = metrics.accuracy(self._predict(adv_images, defense), labels)
        low, high = metrics.wilson_interval(robust, n)
        return Row(
            dataset=self._dataset,
            classifier="vgg16",
            defense=defense,
            attack=spec.attack if spec.label == "true" else f"{spec.attack}_{spec.label}",
            norm="linf",
            eps=spec.eps,
            knowledge="oblivious" if spec.defense == NO_DEFENSE else "adaptive",
            noise="" if defense == NO_DEFENSE else "zero",
            steps=spec.steps,
            step_size=round(spec.step_size, 6),
            restarts=spec.restarts,
            eot=1,
            seed=spec.seed,
            split="test",
            n=n,
            clean_accuracy=round(clean, 4),
            robust_accuracy=round(robust, 4),
            ci_low=round(low, 4),
            ci_high=round(high, 4),
            artefact=artefact(self._catalog.manifest, self._dataset, defense),
            precision="fp32",
            runtime="onnxruntime",
            device="cpu",
            commit=self._commit,
        )

    def _clean_predictions(self, defense: str) -> Tensor:
        if defense not in self._clean:
            self._clean[defense] = self._predict(self._test.images, defense)
        return self._clean[defense]

    def _predict(self, images: Tensor, defense: str) -> Tensor:
        classifier = self._catalog.classifier(self._dataset)
        purifier = self._catalog.purifier(self._dataset, defense)
        parts = []
        for batch in tqdm(torch.split(images, _BATCH), desc=f"judge {defense}", leave=False, mininterval=2.0):
            seen = batch.numpy() if purifier is None else purifier.purify(batch.numpy())
            parts.append(classifier.logits(seen).argmax(axis=1))
        return torch.from_numpy(np.concatenate(parts))


def _line(row: Row) -> str:
    noise = f", noise {row.noise}" if row.noise else ""
    return (
        f"{row.dataset:14} {row.attack} eps {row.eps:g} ({row.knowledge}), defense {row.defense}{noise}: "
        f"{row.robust_accuracy:.4f} [{row.ci_low:.4f}, {row.ci_high:.4f}], clean {row.clean_accuracy:.4f}, n {row.n}"
    )
