"""Adversarial test images in chunks, kept on disk, so that an evaluation can resume.

What a chunk holds depends on its seed and place only, not on how many workers make them. Of a one-step attack only the
gradient's sign is kept: it serves every eps. Knows no purifier and no answers.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from service import manifest as manifests
from service.attacks import WhiteBox, perturbation_size
from service.attacks.norms import into_ball
from training import autoattack
from training.data import Examples
from training.measurement import SLOW, AttackSpec
from training.pipeline import TorchWhiteBox
from training.white_boxes import PipelineWhiteBox, Victim, white_box

CHUNK = 200
_SMALL_CHUNK = 20
_BATCH = 50
_CUDA_BATCH = 200
# Names of folders that were there before these settings were; they are named only where they differ from this.
_LATER_SETTINGS = {"noise": "zero", "eot": 1, "gradient": "exact", "norm": "linf"}
_NOT_KEPT = frozenset({"none", "random_noise"})

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Chunk:
    """Test images (n, 1, 28, 28) from `start` on with their labels (n,): the work of one process.

    `whole`: how many images it has where the test set goes on.
    """

    start: int
    images: Array
    labels: Array
    whole: int = CHUNK

    def stored(self, folder: Path) -> Array | None:
        """What `folder` holds for these images: this chunk's file, or the beginning of the whole chunk's."""
        for stop in (self.start + len(self.labels), self.start + self.whole):
            path = folder / f"{self.start:05d}-{stop:05d}.npy"
            if path.exists():
                return cast(Array, np.load(path)[: len(self.labels)])
        return None

    def store(self, folder: Path, values: Array) -> None:
        """Write this chunk's file in one step."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.start:05d}-{self.start + len(self.labels):05d}.npy"
        temporary = path.with_suffix(f".{os.getpid()}.tmp.npy")
        np.save(temporary, values)
        temporary.replace(path)


def chunks(test: Examples, attack: str = "none") -> Iterator[Chunk]:
    """All of `test`, in order, in pieces of a size that suits the attack."""
    whole = _SMALL_CHUNK if attack in SLOW else CHUNK
    for start in range(0, len(test), whole):
        part = slice(start, start + whole)
        yield Chunk(start, test.images[part].numpy(), test.labels[part].numpy(), whole)


def is_missing(victim: Victim, spec: AttackSpec, chunk: Chunk, cache: Path) -> bool:
    """Whether something is to be crafted before `adversarial` can answer."""
    return spec.attack not in _NOT_KEPT and chunk.stored(attack_folder(victim, _kept(spec), cache)) is None


def craft(victim: Victim, spec: AttackSpec, chunk: Chunk) -> Array:
    """Attack a chunk: what is to be kept of it, each (n, 1, 28, 28). Writes nothing: it may run on another machine."""
    kept = _kept(spec)
    model = white_box(victim, spec, chunk.start)
    device = torch.device(victim.device)
    rng = np.random.default_rng([spec.seed, chunk.start])
    size = _CUDA_BATCH if victim.device == "cuda" else _BATCH
    parts = []
    for first in range(0, len(chunk.labels), size):
        images = torch.from_numpy(chunk.images[first : first + size]).to(device)
        labels = torch.from_numpy(chunk.labels[first : first + size]).to(device)
        parts.append(_attack(model, kept, images, labels, rng).cpu().numpy())
    return np.concatenate(parts)


def keep(victim: Victim, spec: AttackSpec, chunk: Chunk, crafted: Array, cache: Path) -> None:
    """Put what `craft` gave where `adversarial` finds it."""
    chunk.store(attack_folder(victim, _kept(spec), cache), crafted)


def adversarial(victim: Victim, spec: AttackSpec, chunk: Chunk, cache: Path) -> Array:
    """The adversarial images (n, 1, 28, 28) float32 of a chunk that was crafted, in [0, 1] and within eps.

    Where the nearest image that fools is farther than eps, the attack has failed and the image is the untouched one.
    """
    if spec.attack == "none":
        return chunk.images
    if spec.attack == "random_noise":
        rng = np.random.default_rng([spec.seed, chunk.start])
        corners = rng.choice(np.array([-1.0, 1.0], np.float32), chunk.images.shape)
        return _stepped(chunk.images, corners, spec.eps)
    stored = chunk.stored(attack_folder(victim, _kept(spec), cache))
    if stored is None:
        raise FileNotFoundError(f"images {chunk.start} to {chunk.start + len(chunk.labels)} were not crafted: {spec}")
    if spec.is_one_direction:
        return _stepped(chunk.images, stored, spec.eps)
    if spec.finds_the_nearest:
        near = perturbation_size(chunk.images, stored, spec.norm) <= spec.eps
        return np.where(near[:, None, None, None], stored, chunk.images)
    return stored


def attack_folder(victim: Victim, spec: AttackSpec, cache: Path) -> Path:
    """The same weights and the same attack give the same folder; the graph's hash alone does not cover its weights."""
    manifest = manifests.read(victim.models)
    kind: manifests.Kind = "pipeline" if manifest.purifier(victim.dataset, spec.defense) else "classifier"
    weights = "-".join(file.sha256[:8] for file in manifest.graph(victim.dataset, kind, spec.defense).weights)
    settings = asdict(spec)
    later = {name: settings.pop(name) for name in _LATER_SETTINGS}
    words = [f"{value:g}" if isinstance(value, float) else str(value) for value in settings.values()]
    words += [f"{name}-{value}" for name, value in later.items() if value != _LATER_SETTINGS[name]]
    return cache / f"{victim.dataset}-{weights}-{'-'.join(words)}"


def forget(victim: Victim, spec: AttackSpec, cache: Path) -> None:
    """Drop what was crafted for an attack, and so for all that share it, such as FGSM at another eps."""
    shutil.rmtree(attack_folder(victim, _kept(spec), cache), ignore_errors=True)


def _kept(spec: AttackSpec) -> AttackSpec:
    """What is kept on disk for an attack: of FGSM the direction, which is a step of 1; of no eps what has none."""
    if spec.is_one_direction:
        return replace(spec, attack="fgsm_direction", eps=1.0)
    return replace(spec, eps=0.0) if spec.finds_the_nearest else spec


def _attack(model: WhiteBox, spec: AttackSpec, images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
    targeted = spec.label == "least_likely"
    if targeted:
        labels = model.logits(images).argmin(dim=1)
    if spec.attack == "fgsm_direction":
        _, gradient = model.loss_gradient(images, labels)
        return cast(Tensor, (-gradient if targeted else gradient).sign().to(torch.int8))
    if spec.attack == autoattack.NAME:
        forward = cast(TorchWhiteBox | PipelineWhiteBox, model).forward
        return autoattack.attack(forward, images, labels, eps=spec.eps, seed=spec.seed)
    plan = spec.plan()
    options = {"norm": spec.norm, "targeted": targeted, "rng": rng}
    taken = {name: value for name, value in options.items() if name in plan.attack.keywords}
    result = plan.attack.function(model, images, labels, **taken, **plan.settings)
    return cast(Tensor, result.adv_images)


def _stepped(images: Array, direction: Array, eps: float) -> Array:
    """FGSM's step along a direction that is known already."""
    return cast(Array, into_ball(images + eps * direction.astype(np.float32), images, eps, "linf"))
