"""The checks that need a measurement of their own, on a few hundred images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from service.attacks import pgd
from service.catalog import NO_DEFENSE, Catalog
from service.catalog import noise as served_noise
from service.manifest import Manifest
from training import canaries, foolbox_attacks
from training.bench import TestBench
from training.crafting import Array
from training.data import Examples
from training.fingerprint import fingerprint
from training.measurement import AttackSpec, View
from training.outcome import NOT_RUN, Finding, Outcome, outcome
from training.parity import GRADIENT_TOLERANCE, LOGITS_TOLERANCE, gradient_deviation, largest_deviation
from training.pipeline import TorchWhiteBox
from training.protocols import HEADLINE_FGSM_EPS, HEADLINE_PGD_EPS, PGD_STEPS, SLOW_DEFENSES, zero_noise
from training.results import Row, largest
from training.row_checks import CHANCE, name
from training.served import load_classifier, load_pipeline
from training.white_boxes import white_box

T = TypeVar("T")
_FEW = 20
_BATCH = 50
_FGSM_TOLERANCE = 1e-6
_ONE_POINT = 0.01
_STANDS = 3 * CHANCE
_COSTLY = "needs `python -m training evaluate --protocol paper` or `adaptive`"


@dataclass(frozen=True)
class Probes:
    """Measurements on the first `n` test images. Costly ones are made where nothing is kept, or `again`."""

    bench: TestBench
    manifest: Manifest
    train: Callable[[], Examples]
    n: int
    costly: bool
    again: bool = False

    def eval_mode(self, rows: Sequence[Row]) -> Outcome:
        """Check 1."""
        victim = self.bench.victim
        net = load_classifier(victim.models, self.manifest, victim.dataset)
        before, model = fingerprint(net), TorchWhiteBox(net)
        few = self.bench.test.first(_FEW)
        pgd(model, few.images, few.labels, eps=0.1, steps=5, rng=np.random.default_rng(0))
        unmoved = pgd(model, few.images, few.labels, eps=0.0, steps=5, rng=np.random.default_rng(0)).adv_images
        same = fingerprint(net) == before and not any(module.training for module in net.modules())
        at_zero = [row for row in rows if row.eps == 0 and row.attack != "none"]
        findings = [
            Finding(same, "weights and buffers as they were after an attack" if same else "an attack changed the net"),
            Finding(torch.equal(unmoved, few.images), "PGD at eps 0 returns the images"),
            Finding(True if at_zero else None, f"{len(at_zero)} rows at eps 0"),
        ]
        findings += [
            Finding(False, f"{name(row)} leaves {row.robust_accuracy:.4f} of {row.clean_accuracy:.4f}")
            for row in at_zero
            if row.robust_accuracy != row.clean_accuracy
        ]
        return outcome(findings)

    def ball(self) -> Outcome:
        """Check 2: judging stops at the first image that leaves the ball, so what is left is rounding to 8 bits."""
        defense = self.manifest.defenses(self.bench.victim.dataset)[0]
        views = [View(), zero_noise(defense)]
        views += [replace(view, rounded=True) for view in views]
        specs = {
            "FGSM": AttackSpec("fgsm", HEADLINE_FGSM_EPS),
            "PGD": AttackSpec("pgd", HEADLINE_PGD_EPS, steps=PGD_STEPS, random_start=True),
        }
        n = min(self.n, len(self.bench.test))
        labels = self.bench.labels(n)
        measured = {}
        for attack, spec in specs.items():
            for view, answers in self.bench.answers(spec, views, n).items():
                bits = "8 bits" if view.rounded else "float"
                measured[f"{attack} {spec.eps:g}, {view.defense}, {bits}"] = round(float((answers == labels).mean()), 4)
        moved = max(abs(measured[what] - measured[what.replace("8 bits", "float")]) for what in measured)
        text = "every chunk of images is checked before it is judged"
        text += f"; 8 bits move accuracy by at most {moved:.4f} ({', '.join(specs)}, oblivious, {n} images)"
        return outcome([Finding(True, text)], **measured)

    def cross_library(self, kept: Outcome | None) -> Outcome:
        """Check 7."""
        if not foolbox_attacks.is_installed():
            return kept or Outcome(NOT_RUN, "Foolbox is not installed; the environment of `make test` has it.")
        if not self._due(kept):
            return kept or Outcome(NOT_RUN, f"{_COSTLY}.")
        found = self._each(partial(foolbox_attacks.compare, self.bench.victim_of_jobs))
        images = sum(part.images for part in found)
        deviation = max(part.fgsm_deviation for part in found)
        theirs, ours = sum(part.theirs for part in found) / images, sum(part.ours for part in found) / images
        comparable = sum(part.comparable for part in found)
        return outcome(
            [
                Finding(deviation <= _FGSM_TOLERANCE, f"FGSM deviates by {deviation:.1e} on {comparable} of "
                        f"{images} images, those whose softmax is below 1"),
                Finding(abs(theirs - ours) < _ONE_POINT, f"PGD leaves {ours:.4f}, Foolbox's {theirs:.4f}"),
            ],
            fgsm_deviation=deviation, pgd_ours=ours, pgd_foolbox=theirs, images=images,
        )  # fmt: skip

    def canaries(self, rows: Sequence[Row], kept: Outcome | None) -> Outcome:
        """Check 11."""
        if not self._due(kept):
            return kept or Outcome(NOT_RUN, f"{_COSTLY}.")
        robust_net = canaries.robust_net(self.bench.cache / f"canary-{self.bench.victim.dataset}.pt", self.train)
        exact, identity = self._shares(partial(canaries.attack_fake_defense, self.bench.victim_of_jobs))
        clean, robust = self._shares(partial(canaries.attack_robust_net, robust_net))
        alone = largest(rows, attack="pgd", eps=HEADLINE_PGD_EPS, defense=NO_DEFENSE)
        undefended = "not measured" if alone is None else f"{alone.robust_accuracy:.4f}"
        return outcome(
            [
                Finding(None if alone is None else alone.robust_accuracy <= CHANCE, f"undefended VGG: {undefended}"),
                Finding(min(exact, identity) <= CHANCE,
                        f"fake defence: exact gradient {exact:.4f}, BPDA-identity {identity:.4f}"),
                Finding(robust >= _STANDS,
                        f"adversarially trained net at eps {canaries.ROBUST_EPS:g}: {robust:.4f} of {clean:.4f} clean"),
            ],
            fake_exact=exact, fake_identity=identity, robust_clean=clean, robust=robust,
        )  # fmt: skip

    def parity(self) -> Outcome:
        """Check 12."""
        victim = self.bench.victim
        catalog = Catalog.load(victim.models, "cpu")
        images = self.bench.test.first(_BATCH).images
        findings, worst = [], 0.0
        for defense in (NO_DEFENSE, *self.manifest.defenses(victim.dataset)):
            seen = images[:_FEW] if defense in SLOW_DEFENSES else images
            onnx_logits, torch_logits = _both_logits(catalog, victim.dataset, defense, seen)
            deviation = largest_deviation(onnx_logits, torch_logits)
            same = (onnx_logits.argmax(1) == torch_logits.argmax(1)).all()
            text = f"{defense}: logits within {deviation:.1e}, labels {'the same' if same else 'differ'}"
            if defense in SLOW_DEFENSES:
                # Its export compared ten steps; after two hundred, roundings have grown and only the labels are alike.
                findings.append(Finding(bool(same), f"{text} after all steps"))
                continue
            findings.append(Finding(bool(same) and deviation <= LOGITS_TOLERANCE, text))
            worst = max(worst, deviation)
        walked = self._walked()
        findings.append(Finding(walked <= GRADIENT_TOLERANCE, f"gradients that attacks walk within {walked:.1e}"))
        return outcome(findings, deviation=worst, gradient_deviation=walked)

    def _walked(self) -> float:
        """How far the gradients that attacks walk, which are computed in another way, are from the plain module's."""
        victim, few = self.bench.victim, self.bench.test.first(_FEW)
        device = torch.device(victim.device)
        images, labels = few.images.to(device), few.labels.to(device)
        plain = TorchWhiteBox(load_classifier(victim.models, self.manifest, victim.dataset).to(device))
        models = (white_box(victim, AttackSpec("pgd", HEADLINE_PGD_EPS), 0), plain)
        found, expected = (model.loss_gradient(images, labels)[1].cpu().numpy() for model in models)
        return gradient_deviation(found, expected)

    def _due(self, kept: Outcome | None) -> bool:
        return self.costly and (self.again or kept is None or kept.verdict == NOT_RUN)

    def _shares(self, attack: Callable[..., tuple[int, int]]) -> tuple[float, float]:
        found = self._each(attack)
        first, second = np.sum(found, axis=0) / min(self.n, len(self.bench.test))
        return float(first), float(second)

    def _each(self, attack: Callable[..., T]) -> list[T]:
        """What `attack` finds on each batch of the first images, in the order in which they end."""
        chosen = self.bench.test.first(self.n)
        starts = range(0, len(chosen), _BATCH)
        parts = [(chosen.images[start : start + _BATCH], chosen.labels[start : start + _BATCH]) for start in starts]
        jobs = [
            partial(attack, images.numpy(), labels.numpy(), start)
            for start, (images, labels) in zip(starts, parts, strict=True)
        ]
        return [found for _, found in self.bench.workers.run(jobs, gpu=self.bench.victim.device == "cuda")]


def _both_logits(catalog: Catalog, dataset: str, defense: str, images: torch.Tensor) -> tuple[Array, Array]:
    """ONNX's and torch's logits for the same images and, behind a purifier, the same drawn noise."""
    purifier, classifier = catalog.purifier(dataset, defense), catalog.classifier(dataset, defense)
    if purifier is None:
        net = load_classifier(catalog.folder, catalog.manifest, dataset, defense)
        return classifier.logits(images.numpy()), net(images).numpy()
    noise = served_noise(purifier.graph, len(images), 0)
    purified = purifier.session.run(images=images.numpy(), noise=noise)["purified_images"]
    pipeline = load_pipeline(catalog.folder, catalog.manifest, dataset, defense)
    return classifier.logits(purified), pipeline(images, torch.from_numpy(noise)).numpy()
