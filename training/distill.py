"""`python -m training distill`: defensive distillation (arXiv 1511.04508) of the classifier.

A net that is trained at a temperature answers with logits as many times larger, hence the same probabilities at that
temperature as one that is trained at 1: so the classifier's own probabilities are the soft labels. The student learns
them with its logits divided by the temperature, and answers undivided. Knows no attack.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from training import data, metrics
from training.augmentation import augment
from training.classifiers import ARCHITECTURES
from training.classifiers.vgg16 import VGG16
from training.config import ClassifierConfig, DistillationConfig
from training.devices import autocast
from training.fitting import Job, fit
from training.weights import round_to_stored_precision

_SELECT = "validation_accuracy"


def distill(
    train: data.Examples,
    teacher_logits: Tensor,
    validation: data.Examples,
    *,
    config: DistillationConfig,
    backbone: str | Path,
    device: torch.device,
    folder: Path,
) -> VGG16:
    """A student in eval mode, the best epoch by validation accuracy. Resumes from `folder`.

    Departure from the paper: a narrower student, since a second full VGG-16 for each data set is too large to ship.

    Args:
        teacher_logits: the classifier's (N, 10), for the training images as they are.

    Raises:
        BackboneError, CheckpointError: see `VGG16.load_backbone` and `fit`.
    """
    torch.manual_seed(config.seed)
    student = cast(VGG16, ARCHITECTURES[config.architecture]())
    student.load_backbone(backbone)
    student.to(device).to(memory_format=torch.channels_last)
    soft_labels = teacher_logits.softmax(dim=1)
    shifts = ClassifierConfig(config.schedule, translation=config.translation)

    def batch_loss(indices: Tensor, step: int) -> tuple[Tensor, Mapping[str, float]]:
        images = augment(train.images[indices], shifts).to(device)
        with autocast(device):
            logits = student(images)
        loss = nn.functional.cross_entropy(logits.float() / config.temperature, soft_labels[indices].to(device))
        return loss, {"cross_entropy": loss.item()}

    def validate() -> Mapping[str, float]:
        with autocast(device):
            predictions = metrics.predict(lambda images: student(images.to(device)), validation.images)
        return {_SELECT: metrics.accuracy(predictions, validation.labels)}

    name = " ".join(folder.parts[-2:])
    fit(Job(name, folder, config, config.schedule, len(train), _SELECT, config.seed), student, batch_loss, validate)
    round_to_stored_precision(student)
    torch.save(student.state_dict(), folder / "weights.pt")
    return student
