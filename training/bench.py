"""The test bench: adversarial images made once, and the served graphs' answers to them, by many workers.

Both are kept on disk by the hashes of the weights, so that what was interrupted goes on where it stopped. Workers hand
back what they found and this process alone keeps it, so that they may run anywhere. Attacks run in torch, on a GPU
where there is one; every answer is an ONNX graph's on the CPU.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from service import manifest as manifests
from service.attacks import Norm, perturbation_size
from service.catalog import NO_DEFENSE, Catalog, Classifier, Purifier
from service.catalog import noise as served_noise
from service.images import rounded
from service.runtime import Runtime
from training.crafting import Array, Chunk, adversarial, attack_folder, chunks, craft, forget, is_missing, keep
from training.data import Examples
from training.errors import BallError
from training.measurement import CLEAN, AttackSpec, View
from training.white_boxes import Victim
from training.workers import Workers

T = TypeVar("T")
_BATCH = 100
# A float32 length is a sum over all pixels; a number of pixels is exact.
_BALL_TOLERANCE: dict[Norm, float] = {"linf": 1e-6, "l2": 1e-5, "l0": 0.0}


@dataclass(frozen=True)
class TestBench:
    """Attacks on the served models of one data set, and their answers."""

    __test__ = False  # its name makes pytest curious

    victim: Victim
    test: Examples
    cache: Path
    workers: Workers

    def answers(self, spec: AttackSpec, views: Sequence[View], n: int) -> dict[View, Array]:
        """Each view's predictions (n,) on the first n test images under an attack.

        Raises:
            BallError: an adversarial image leaves [0, 1] or its ball (check 2).
        """
        parts = list(chunks(self.test.first(n), spec.attack))
        self._craft(spec, parts)
        self._judge(spec, views, parts)
        return {view: np.concatenate([self._kept(spec, view, chunk) for chunk in parts]) for view in views}

    def forget(self, spec: AttackSpec, views: Sequence[View]) -> None:
        """Drop the adversarial images and the answers that are kept, so that both are made again."""
        forget(self.victim, spec, self.cache)
        for view in views:
            shutil.rmtree(_answers_folder(self.victim, spec, view, self.cache), ignore_errors=True)

    def clean_answers(self, view: View, n: int) -> Array:
        """A view's predictions (n,) on the first n test images as they are."""
        return self.answers(CLEAN, [view], n)[view]

    def labels(self, n: int) -> Array:
        """The true classes (n,) of the first n test images."""
        return self.test.labels[:n].numpy()

    @property
    def victim_of_jobs(self) -> Victim:
        """The victim as jobs find it, where they run."""
        return replace(self.victim, models=self.workers.models_seen(self.victim.models))

    def _craft(self, spec: AttackSpec, parts: list[Chunk]) -> None:
        missing = [chunk for chunk in parts if is_missing(self.victim, spec, chunk, self.cache)]
        jobs = [partial(craft, self.victim_of_jobs, spec, chunk) for chunk in missing]
        title = f"{self.victim.dataset} {spec.attack} eps {spec.eps:g} {spec.norm}"
        title = title if spec.defense == NO_DEFENSE else f"{title} on {spec.defense}"
        for place, crafted in self._run(jobs, title, gpu=self.victim.device == "cuda"):
            keep(self.victim, spec, missing[place], crafted, self.cache)

    def _judge(self, spec: AttackSpec, views: Sequence[View], parts: list[Chunk]) -> None:
        wanted = [(chunk, [view for view in views if self._lacks(spec, view, chunk)]) for chunk in parts]
        wanted = [(chunk, missing) for chunk, missing in wanted if missing]
        jobs = [
            partial(_judge, self.victim_of_jobs, self._attacked(spec, chunk), chunk.start, missing)
            for chunk, missing in wanted
        ]
        for place, answers in self._run(jobs, f"{self.victim.dataset} judge {spec.attack} eps {spec.eps:g}"):
            chunk, missing = wanted[place]
            for view, predictions in zip(missing, answers, strict=True):
                chunk.store(_answers_folder(self.victim, spec, view, self.cache), predictions)

    def _attacked(self, spec: AttackSpec, chunk: Chunk) -> Array:
        adv_images = adversarial(self.victim, spec, chunk, self.cache)
        check_ball(chunk.images, adv_images, spec.eps, spec.norm)
        return adv_images

    def _run(self, jobs: Sequence[Callable[[], T]], title: str, *, gpu: bool = False) -> Iterator[tuple[int, T]]:
        if not jobs:
            return
        with tqdm(total=len(jobs), desc=title, unit="chunk", mininterval=2.0, leave=False) as bar:
            for place_and_result in self.workers.run(jobs, gpu=gpu):
                yield place_and_result
                bar.update()

    def _lacks(self, spec: AttackSpec, view: View, chunk: Chunk) -> bool:
        return chunk.stored(_answers_folder(self.victim, spec, view, self.cache)) is None

    def _kept(self, spec: AttackSpec, view: View, chunk: Chunk) -> Array:
        kept = chunk.stored(_answers_folder(self.victim, spec, view, self.cache))
        assert kept is not None
        return kept


def check_ball(images: Array, adv_images: Array, eps: float, norm: Norm = "linf") -> None:
    """Check 2: adversarial images lie in [0, 1] and within eps + 1e-6 in L-inf, 1e-5 in L2, exactly in L0.

    Raises:
        BallError: one does not.
    """
    low, high = float(adv_images.min()), float(adv_images.max())
    largest = float(perturbation_size(images, adv_images, norm).max())
    if not (low >= 0 and high <= 1 and largest <= eps + _BALL_TOLERANCE[norm]):
        raise BallError(
            f"adversarial images span [{low:.6f}, {high:.6f}] and are up to {largest:.6f} away in {norm}; "
            f"allowed: [0, 1] and {eps:g}"
        )


def _answers_folder(victim: Victim, spec: AttackSpec, view: View, cache: Path) -> Path:
    words = [view.defense]
    manifest = manifests.read(victim.models)
    if view.defense != NO_DEFENSE:
        purifier = manifest.purifier(victim.dataset, view.defense)
        own = purifier or manifest.classifier(victim.dataset, view.defense)
        words += [own.weights_sha256[:8], view.noise, str(view.seed)]
    if view.precision != "fp32":
        graph = manifest.graph(victim.dataset, "classifier", precision=view.precision)
        words += [view.precision, graph.weights_sha256[:8]]
    words += ["rounded"] if view.rounded else []
    return attack_folder(victim, spec, cache) / "-".join(words)


def _judge(victim: Victim, adv_images: Array, start: int, views: list[View]) -> list[Array]:
    """Each view's predictions (n,) on the images (n, 1, 28, 28) from place `start` on."""
    catalog = _catalog(victim.models)
    answers = []
    for view in views:
        classifier = catalog.classifier(victim.dataset, view.defense, view.precision)
        purifier = catalog.purifier(victim.dataset, view.defense)
        seen = rounded(adv_images) if view.rounded else adv_images
        answers.append(_answer(classifier, purifier, view, seen, start))
    return answers


def _answer(classifier: Classifier, purifier: Purifier | None, view: View, images: Array, start: int) -> Array:
    noise = None if purifier is None else _noise(purifier, view, len(images), start)
    parts = []
    for first in range(0, len(images), _BATCH):
        seen = images[first : first + _BATCH]
        if purifier is not None and noise is not None:
            seen = purifier.session.run(images=seen, noise=noise[first : first + _BATCH])["purified_images"]
        parts.append(classifier.logits(seen).argmax(axis=1).astype(np.uint8))
    return np.concatenate(parts)


def _noise(purifier: Purifier, view: View, n: int, start: int) -> Array:
    """Zero; or one draw for all images, as a request with that seed sees it; or a fresh draw for each image."""
    if view.noise == "drawn":
        shape: tuple[int, ...] = served_noise(purifier.graph, n, None).shape
        return np.random.default_rng([view.seed, start, 2]).standard_normal(shape, dtype=np.float32)
    fixed: Array = served_noise(purifier.graph, 1, view.seed if view.noise == "fixed" else None)
    return np.broadcast_to(fixed, (n, *fixed.shape[1:])).copy()


@lru_cache(maxsize=1)
def _catalog(models: Path) -> Catalog:
    """Verified once in each process, for the files may have travelled; opens only the graphs that are asked."""
    manifest = manifests.read(models)
    manifests.verify(models, manifest)
    return Catalog(models, manifest, Runtime("cpu", threads=1))
