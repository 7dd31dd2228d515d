"""`python -m training classifier`: fine-tune VGG-16 from ImageNet on one data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from training import data, metrics
from training.augmentation import augment
from training.classifiers.vgg16 import VGG16
from training.config import ClassifierConfig, Schedule
from training.devices import autocast
from training.fitting import Job, fit
from training.weights import round_to_stored_precision

_SELECT = "validation_accuracy"


def train_classifier(
    train: data.Examples,
    validation: data.Examples,
    *,
    config: ClassifierConfig,
    backbone: str | Path,
    device: torch.device,
    folder: Path,
) -> VGG16:
    """A VGG-16 in eval mode, the best epoch by validation accuracy. Resumes from `folder`.

    Raises:
        BackboneError, CheckpointError: see `VGG16.load_backbone` and `fit`.
    """
    torch.manual_seed(config.seed)
    model = VGG16(config.dropout)
    model.load_backbone(backbone)
    model.to(device).to(memory_format=torch.channels_last)
    stages = [(folder, config, config.schedule)]
    if config.polish is not None:
        gentle = replace(config, rotation=0.0, scaling=0.0, translation=1.0, erasing=0.0)
        stages.append((folder / "polish", gentle, config.polish))
    best: Mapping[str, float] = {_SELECT: 0.0}
    for place, stage, schedule in stages:
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        reached = _fit_stage(model, train, validation, stage, schedule, config, device, place)
        if reached[_SELECT] < best[_SELECT]:
            model.load_state_dict(before)
        else:
            best = reached
    round_to_stored_precision(model)
    torch.save(model.state_dict(), folder / "weights.pt")
    return model


def _fit_stage(
    model: VGG16,
    train: data.Examples,
    validation: data.Examples,
    stage: ClassifierConfig,
    schedule: Schedule,
    config: ClassifierConfig,
    device: torch.device,
    folder: Path,
) -> Mapping[str, float]:
    cross_entropy = nn.CrossEntropyLoss(label_smoothing=stage.label_smoothing)

    def batch_loss(indices: Tensor, step: int) -> tuple[Tensor, Mapping[str, float]]:
        images = augment(train.images[indices], stage).to(device)
        labels = train.labels[indices].to(device)
        with autocast(device):
            logits = model(images)
        loss = cross_entropy(logits.float(), labels)
        return loss, {"cross_entropy": loss.item()}

    def validate() -> Mapping[str, float]:
        with autocast(device):
            predictions = metrics.predict(lambda images: model(images.to(device)), validation.images)
        return {_SELECT: metrics.accuracy(predictions, validation.labels)}

    job = Job(
        name=" ".join(folder.parts[-2:]),
        folder=folder,
        config=config,
        schedule=schedule,
        examples=len(train),
        select=_SELECT,
        seed=config.seed,
    )
    return fit(job, model, batch_loss, validate)
