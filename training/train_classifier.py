"""`python -m training classifier`: fine-tune VGG-16 from ImageNet on one data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from training import data, metrics
from training.augmentation import augment
from training.classifiers.vgg16 import VGG16
from training.config import ClassifierConfig
from training.devices import autocast
from training.fitting import Job, fit
from training.weights import round_to_stored_precision


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
    cross_entropy = nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)

    def batch_loss(indices: Tensor, step: int) -> tuple[Tensor, Mapping[str, float]]:
        images = augment(train.images[indices], config).to(device)
        labels = train.labels[indices].to(device)
        with autocast(device):
            logits = model(images)
        loss = cross_entropy(logits.float(), labels)
        return loss, {"cross_entropy": loss.item()}

    def validate() -> Mapping[str, float]:
        with autocast(device):
            predictions = metrics.predict(lambda images: model(images.to(device)), validation.images)
        return {"validation_accuracy": metrics.accuracy(predictions, validation.labels)}

    job = Job(
        name=f"classifier {folder.parent.name}",
        folder=folder,
        config=config,
        schedule=config.schedule,
        examples=len(train),
        select="validation_accuracy",
        seed=config.seed,
    )
    fit(job, model, batch_loss, validate)
    round_to_stored_precision(model)
    torch.save(model.state_dict(), folder / "weights.pt")
    return model
