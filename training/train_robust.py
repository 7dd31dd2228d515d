"""`python -m training purifier --defense autoencoder_robust`: a purifier that an attacker may know.

Adversarial training (arXiv 1706.06083) of the purifier alone: PGD walks the cross-entropy of purifier and frozen
classifier together. Nearly all of it goes through a small student in the classifier's place, since a gradient through
VGG-16 costs ten times that of the purifier; a short last stage goes through VGG-16 itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from service.attacks import pgd
from training import metrics
from training.augmentation import augment
from training.classifiers.student import Student
from training.config import ClassifierConfig, RobustConfig, Schedule
from training.data import Examples
from training.fingerprint import fingerprint
from training.fitting import BatchLoss, Job, fit
from training.pipeline import Pipeline, Purifier, TorchWhiteBox, freeze
from training.purifiers import ARCHITECTURES
from training.train_purifier import deterministic
from training.weights import round_to_stored_precision

_VALIDATION_IMAGES = 1_000
_ATTACKED_IMAGES = 256
_VALIDATION_STEPS = 10
_STUDENT_NOISE = 0.15
_BATCH = 64


@dataclass(frozen=True)
class _Stage:
    """One stage: where it is kept, how long it takes, on which images, through which classifier."""

    folder: Path
    schedule: Schedule
    train: Examples
    classifier: nn.Module
    ramp: float


def train_robust(
    train: Examples,
    validation: Examples,
    classifier: nn.Module,
    *,
    config: RobustConfig,
    device: torch.device,
    folder: Path,
) -> nn.Module:
    """A purifier in eval mode, the best epoch by the accuracy of purifier and classifier under adaptive PGD.

    Resumes from `folder`, which keeps the student too.

    Raises:
        CheckpointError: see `fit`.
    """
    classifier = freeze(classifier)
    student = _train_student(train, validation, config, device, folder / "student")
    torch.manual_seed(config.seed)
    module = ARCHITECTURES[config.architecture](config.noise_std).to(device)
    module.to(memory_format=torch.channels_last)
    validate = _adaptive_validation(validation, module, classifier, config, device)
    stages = (
        _Stage(folder, config.schedule, train, student, config.ramp),
        _Stage(folder / "polish", config.polish, train.first(config.polish_images), classifier, 0.0),
    )
    for stage in stages:
        job = Job(
            name=" ".join(stage.folder.relative_to(folder.parents[1]).parts),
            folder=stage.folder,
            config=config,
            schedule=stage.schedule,
            examples=len(stage.train),
            select="robust_accuracy",
            seed=config.seed,
            depends_on=fingerprint(stage.classifier),
        )
        fit(job, module, _objective(stage, module, config, device, job.total_steps), validate)
    round_to_stored_precision(module)
    torch.save(module.state_dict(), folder / "weights.pt")
    return module


def _objective(
    stage: _Stage, module: nn.Module, config: RobustConfig, device: torch.device, total_steps: int
) -> BatchLoss:
    purifier = cast(Purifier, module)

    def batch_loss(indices: Tensor, step: int) -> tuple[Tensor, Mapping[str, float]]:
        images, labels = stage.train.images[indices].to(device), stage.train.labels[indices].to(device)
        noise = purifier.draw_noise(len(images), device)
        n = round(len(images) * (1 - config.clean))
        eps = config.eps * min(1.0, (step + 1) / (stage.ramp * total_steps)) if stage.ramp else config.eps
        rng = np.random.default_rng([config.seed, step])
        module.eval()
        walked = _walk(_through(purifier, stage.classifier, noise[:n]), images[:n], labels[:n], eps, config, rng)
        module.train()
        purified = purifier(torch.cat([walked, images[n:]]), noise)
        squared_error = nn.functional.mse_loss(purified, images)
        # Only what the classifier sees is clamped: clamping under the squared error kills its gradient.
        cross_entropy = nn.functional.cross_entropy(stage.classifier(purified.clamp(0, 1)), labels)
        losses = {"eps": eps, "squared_error": squared_error.item(), "cross_entropy": cross_entropy.item()}
        return cross_entropy + config.pixel_weight * squared_error, losses

    return batch_loss


def _walk(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    eps: float,
    config: RobustConfig,
    rng: np.random.Generator,
) -> Tensor:
    walked = pgd(TorchWhiteBox(model), images, labels, eps=eps, steps=config.attack_steps, rng=rng)
    return cast(Tensor, walked.adv_images)


def _through(purifier: Purifier, classifier: nn.Module, noise: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda images: cast(Tensor, classifier(purifier(images, noise).clamp(0, 1)))


def _adaptive_validation(
    validation: Examples, module: nn.Module, classifier: nn.Module, config: RobustConfig, device: torch.device
) -> Callable[[], Mapping[str, float]]:
    """A function that measures the accuracies of the pipeline, noise zero, clean and under adaptive PGD."""
    clean, attacked = validation.first(_VALIDATION_IMAGES), validation.first(_ATTACKED_IMAGES)
    model = deterministic(Pipeline(module, classifier), cast(Purifier, module))

    def walked() -> Tensor:
        rng = np.random.default_rng(config.seed)
        batches = zip(torch.split(attacked.images, _BATCH), torch.split(attacked.labels, _BATCH), strict=True)
        found = [
            pgd(TorchWhiteBox(model), images.to(device), labels.to(device), eps=config.eps, steps=_VALIDATION_STEPS,
                rng=rng).adv_images
            for images, labels in batches
        ]  # fmt: skip
        return torch.cat(found)

    def validate() -> Mapping[str, float]:
        answers = metrics.predict(lambda images: model(images.to(device)), clean.images)
        robust = metrics.predict(model, walked())
        return {
            "clean_accuracy": metrics.accuracy(answers, clean.labels),
            "robust_accuracy": metrics.accuracy(robust, attacked.labels),
        }

    return validate


def _train_student(
    train: Examples, validation: Examples, config: RobustConfig, device: torch.device, folder: Path
) -> nn.Module:
    """A small classifier that is used to noise and small shifts, frozen."""
    torch.manual_seed(config.seed)
    student = Student().to(device)
    shifts = ClassifierConfig(config.student, translation=1.0)

    def batch_loss(indices: Tensor, step: int) -> tuple[Tensor, Mapping[str, float]]:
        images = augment(train.images[indices], shifts)
        images = images + torch.randn_like(images) * _STUDENT_NOISE * torch.rand(len(images), 1, 1, 1)
        logits = student(images.clamp(0, 1).to(device))
        loss = nn.functional.cross_entropy(logits, train.labels[indices].to(device))
        return loss, {"cross_entropy": loss.item()}

    def validate() -> Mapping[str, float]:
        predictions = metrics.predict(lambda images: student(images.to(device)), validation.images)
        return {"validation_accuracy": metrics.accuracy(predictions, validation.labels)}

    name = " ".join(folder.parts[-3:])
    job = Job(name, folder, config, config.student, len(train), "validation_accuracy", config.seed)
    fit(job, student, batch_loss, validate)
    return freeze(student)
