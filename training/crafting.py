"""Adversarial test images, made in parallel and kept on disk in chunks, so that an evaluation can resume.

Each chunk of images is the work of one process with one thread, which uses every core better than threads inside
the operators do; on a GPU one process makes all chunks. What a chunk holds depends on its seed and place only, not on
how many workers there are.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from service import manifest as manifests
from service.attacks import default_step_size, fgsm, pgd
from service.inference import usable_cpus
from training import devices
from training.data import Examples
from training.pipeline import TorchWhiteBox
from training.served import load_classifier, load_pipeline

_CHUNK = 200
_BATCH = 50
_CUDA_BATCH = 200


@dataclass(frozen=True)
class AttackSpec:
    """One attack of the protocol. `defense` is the purifier that the attacker looks through, 'none' for none.

    `label` says whose loss is walked: up the true label's, or down the least likely class's.
    """

    attack: str
    eps: float
    steps: int = 1
    restarts: int = 1
    random_start: bool = False
    label: str = "true"
    defense: str = "none"
    seed: int = 0

    @property
    def step_size(self) -> float:
        """In units of pixels in [0, 1]."""
        return self.eps if self.attack == "fgsm" else default_step_size(self.eps, self.steps)


@dataclass(frozen=True)
class Victim:
    """The served models that an attack is made on."""

    models: Path
    dataset: str
    device: str


def craft(victim: Victim, spec: AttackSpec, test: Examples, cache: Path) -> Tensor:
    """Adversarial images (N, 1, 28, 28) for all of `test`, in [0, 1] and within eps in L-inf.

    Chunks that lie in `cache` for the same models and attack are taken from there. An image is attacked together with
    the others of its chunk, so that a shorter `test` gives the same images where it ends with a full chunk.
    """
    folder = cache / _cache_name(victim, spec)
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(test), _CHUNK)
    paths = [folder / f"{start:05d}-{min(start + _CHUNK, len(test)):05d}.npy" for start in starts]
    missing = [(start, path) for start, path in zip(starts, paths, strict=True) if not path.exists()]
    description = f"{victim.dataset} {spec.attack} eps {spec.eps:g}" + ("" if spec.defense == "none" else " adaptive")
    with tqdm(total=len(test), desc=description, unit="image", mininterval=2.0) as bar:
        bar.update(len(test) - sum(min(_CHUNK, len(test) - start) for start, _ in missing))
        jobs = []
        for start, path in missing:
            chunk = slice(start, min(start + _CHUNK, len(test)))
            images, labels = test.images[chunk].numpy(), test.labels[chunk].numpy()
            jobs.append(partial(_craft_chunk, victim, spec, images, labels, start, path))
        for done in _run(jobs, victim.device):
            bar.update(done)
    return torch.from_numpy(np.concatenate([np.load(path) for path in paths]))


def _run(jobs: Sequence[Callable[[], int]], device: str) -> Iterator[int]:
    workers = min(usable_cpus(), len(jobs))
    if device == "cuda" or workers <= 1:
        yield from (job() for job in jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
        futures = [pool.submit(job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_worker() -> None:
    torch.set_num_threads(1)
    # Ctrl-C reaches the whole process group; the parent alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _craft_chunk(
    victim: Victim,
    spec: AttackSpec,
    images: np.ndarray[Any, Any],
    labels: np.ndarray[Any, Any],
    start: int,
    path: Path,
) -> int:
    model = _white_box(victim, spec.defense)
    size = _CUDA_BATCH if victim.device == "cuda" else _BATCH
    device = torch.device(victim.device)
    rng = np.random.default_rng([spec.seed, start])
    parts = []
    for first in range(0, len(images), size):
        batch = torch.from_numpy(images[first : first + size]).to(device)
        truth = torch.from_numpy(labels[first : first + size]).to(device)
        parts.append(_attack(model, spec, batch, truth, rng).cpu().numpy())
    temporary = path.with_suffix(f".{os.getpid()}.tmp.npy")
    np.save(temporary, np.concatenate(parts))
    temporary.replace(path)
    return len(images)


def _attack(model: TorchWhiteBox, spec: AttackSpec, images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
    targeted = spec.label == "least_likely"
    if targeted:
        labels = model.logits(images).argmin(dim=1)
    if spec.attack == "fgsm":
        return cast(Tensor, fgsm(model, images, labels, eps=spec.eps, targeted=targeted).adv_images)
    return cast(
        Tensor,
        pgd(
            model,
            images,
            labels,
            eps=spec.eps,
            steps=spec.steps,
            restarts=spec.restarts,
            random_start=spec.random_start,
            targeted=targeted,
            rng=rng,
        ).adv_images,
    )


@lru_cache(maxsize=2)
def _white_box(victim: Victim, defense: str) -> TorchWhiteBox:
    manifest = manifests.read(victim.models)
    device = devices.resolve(cast(devices.DeviceChoice, victim.device))
    if defense == "none":
        return TorchWhiteBox(load_classifier(victim.models, manifest, victim.dataset).to(device))
    pipeline = load_pipeline(victim.models, manifest, victim.dataset, defense).to(device)
    return TorchWhiteBox(_WithoutNoise(pipeline))


class _WithoutNoise(nn.Module):
    """A pipeline with its latent noise at zero, which is how it is served without a seed."""

    def __init__(self, pipeline: nn.Module) -> None:
        super().__init__()
        self.pipeline = pipeline
        self.noise_shape: tuple[int, ...] = pipeline.purifier.purifier.noise_shape  # type: ignore[assignment,union-attr]

    def forward(self, images: Tensor) -> Tensor:
        noise = torch.zeros(len(images), *self.noise_shape, device=images.device)
        return cast(Tensor, self.pipeline(images, noise))


def _cache_name(victim: Victim, spec: AttackSpec) -> str:
    """The same weights and the same attack give the same name; the graph's hash alone does not cover its weights."""
    manifest = manifests.read(victim.models)
    kind: manifests.Kind = "classifier" if spec.defense == "none" else "pipeline"
    graph = manifest.graph(victim.dataset, kind, spec.defense)
    weights = "-".join(file.sha256[:8] for file in graph.weights)
    settings = "-".join(f"{value:g}" if isinstance(value, float) else str(value) for value in asdict(spec).values())
    return f"{victim.dataset}-{weights}-{settings}"
