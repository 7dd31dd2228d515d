"""`python -m training purifier --defense autoencoder_robust`: a purifier that an attacker may know.

Adversarial training (arXiv 1706.06083) in two stages. A gradient through VGG-16 costs several times as much as one
through the purifier's encoder, so that in the first stage the attack walks through a small reader of the codes in the
place of decoder and classifier. All that reaches the classifier is a function of the code, 64 numbers. In the second
stage encoder and reader stay as they are, and the decoder learns to draw what the classifier answers as the reader
does, along the attacker's ways and between codes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from service.attacks import pgd
from training import metrics
from training.data import Examples
from training.devices import autocast
from training.fingerprint import fingerprint
from training.fitting import BatchLoss, Job, Validate, fit
from training.pipeline import Pipeline, TorchWhiteBox, freeze
from training.purifiers import ARCHITECTURES
from training.purifiers.robust_autoencoder import RobustAutoencoder
from training.robust_recipes import DrawingConfig, RobustConfig
from training.train_purifier import deterministic
from training.weights import round_to_stored_precision
from training.winograd import fastest

Model = Callable[[Tensor], Tensor]
_SELECT = "mean_accuracy"
# Of the validation images, how many are attacked and by how many steps: through the reader, and through VGG-16.
_READER_IMAGES, _READER_STEPS = 1_000, 20
_CLASSIFIER_IMAGES, _CLASSIFIER_STEPS = 200, 10
_BATCH = 50


def train_robust(
    train: Examples,
    validation: Examples,
    classifier: nn.Module,
    *,
    config: RobustConfig,
    device: torch.device,
    folder: Path,
) -> nn.Module:
    """A purifier in eval mode, each stage's best epoch by its mean validation accuracy, clean and under adaptive PGD.

    The attack of the first stage's validation goes through the reader, that of the second through purifier and
    classifier. Resumes from `folder`.

    Raises:
        CheckpointError: see `fit`.
    """
    classifier = freeze(classifier)
    torch.manual_seed(config.seed)
    purifier = cast(RobustAutoencoder, ARCHITECTURES[config.architecture](config.noise_std))
    purifier = purifier.to(device).to(memory_format=torch.channels_last)
    reading = Job(
        name=" ".join((*folder.parts[-2:], "reading")),
        folder=folder / "reading",
        config=replace(config, drawing=None),
        schedule=config.schedule,
        examples=len(train),
        select=_SELECT,
        seed=config.seed,
    )

    def read(images: Tensor) -> Tensor:
        return purifier.read(purifier.encode(images, torch.zeros(len(images), *purifier.noise_shape, device=device)))

    attacked = validation.first(_READER_IMAGES)
    validate = _adaptive_validation(validation, attacked, read, config, _READER_STEPS, device)
    fit(reading, purifier, _reading(train, purifier, config, device, reading.total_steps), validate)

    freeze(purifier.encoder), freeze(purifier.reader)
    drawing = replace(
        reading,
        name=" ".join((*folder.parts[-2:], "drawing")),
        folder=folder,
        config=config,
        schedule=cast(DrawingConfig, config.drawing).schedule,
        depends_on=f"{fingerprint(classifier)} {fingerprint(purifier)}",
    )
    judge = fastest(classifier, device, mixed_precision=False)
    answer = deterministic(Pipeline(purifier, judge), purifier)
    attacked = validation.first(_CLASSIFIER_IMAGES)
    validate = _adaptive_validation(attacked, attacked, answer, config, _CLASSIFIER_STEPS, device)
    fit(drawing, purifier, _drawing(train, purifier, judge, config, device), validate)
    round_to_stored_precision(purifier)
    torch.save(purifier.state_dict(), folder / "weights.pt")
    return purifier


def _reading(
    train: Examples, purifier: RobustAutoencoder, config: RobustConfig, device: torch.device, total_steps: int
) -> BatchLoss:
    def batch_loss(indices: Tensor, step: int) -> tuple[Tensor, Mapping[str, float]]:
        images, labels = train.images[indices].to(device), train.labels[indices].to(device)
        if config.mirrored:
            turned = torch.rand(len(images), 1, 1, 1, device=device) < 0.5
            images = torch.where(turned, images.flip(3), images)
        noise = purifier.draw_noise(len(images), device)
        n = round(len(images) * (1 - config.clean))
        eps = config.eps * (min(1.0, (step + 1) / (config.ramp * total_steps)) if config.ramp else 1.0)
        rng = np.random.default_rng([config.seed, step])
        walked = walk(
            lambda watched: purifier.read(purifier.encode(watched, noise[:n])),
            images[:n],
            labels[:n],
            eps=eps,
            steps=config.attack_steps,
            rng=rng,
            mixed_precision=True,
        )
        with autocast(device):
            codes = purifier.encode(torch.cat([walked, images[n:]]), noise)
            read, purified = purifier.read(codes), purifier.decode(codes)
        terms = {
            "read": nn.functional.cross_entropy(read.float(), labels),
            "squared_error": nn.functional.mse_loss(purified.float(), images),
        }
        loss = terms["read"] + config.pixel_weight * terms["squared_error"]
        return loss, {"eps": eps} | {name: term.item() for name, term in terms.items()}

    return batch_loss


def _drawing(
    train: Examples, purifier: RobustAutoencoder, classifier: nn.Module, config: RobustConfig, device: torch.device
) -> BatchLoss:
    stage = cast(DrawingConfig, config.drawing)

    def batch_loss(indices: Tensor, step: int) -> tuple[Tensor, Mapping[str, float]]:
        images, labels = train.images[indices].to(device), train.labels[indices].to(device)
        noise = purifier.draw_noise(len(images), device)
        rng = np.random.default_rng([config.seed, step])
        led, n = (round(len(images) * share) for share in (stage.through_classifier, 1 - stage.clean))
        through = walk(
            lambda watched: classifier(purifier(watched, noise[:led]).clamp(0, 1)),
            images[:led],
            labels[:led],
            eps=config.eps,
            steps=stage.attack_steps,
            rng=rng,
        )
        misread = walk(
            lambda watched: purifier.read(purifier.encode(watched, noise[led:n])),
            images[led:n],
            labels[led:n],
            eps=config.eps,
            steps=config.attack_steps,
            rng=rng,
            mixed_precision=True,
        )
        with torch.no_grad():
            codes = purifier.encode(torch.cat([through, misread, images[n:]]), noise)
            told = purifier.read(codes)
        purified = purifier.decode(codes)
        # Only what the classifier sees is clamped: clamping under the squared error kills its gradient.
        answers = classifier(purified.clamp(0, 1))
        terms = {
            "disagreement": _divergence(answers, told),
            "squared_error": nn.functional.mse_loss(purified, images),
        }
        loss = terms["disagreement"] + stage.pixel_weight * terms["squared_error"]
        return loss, {name: term.item() for name, term in terms.items()}

    return batch_loss


def walk(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    eps: float,
    steps: int,
    rng: np.random.Generator,
    mixed_precision: bool = False,
) -> Tensor:
    """PGD from a random start up a model's cross-entropy; the model knows the noise."""
    victim = TorchWhiteBox(model, mixed_precision=mixed_precision)
    return cast(Tensor, pgd(victim, images, labels, eps=eps, steps=steps, rng=rng).adv_images)


def _divergence(answers: Tensor, told: Tensor) -> Tensor:
    """KL divergence of a classifier's logits from a reader's, in nats an image."""
    return nn.functional.kl_div(
        answers.log_softmax(dim=1), told.log_softmax(dim=1), reduction="batchmean", log_target=True
    )


def _adaptive_validation(
    clean: Examples, attacked: Examples, model: Model, config: RobustConfig, steps: int, device: torch.device
) -> Validate:
    """A function that measures a model's accuracies, noise zero, clean and under PGD through itself."""

    def under_attack() -> Tensor:
        rng = np.random.default_rng(config.seed)
        batches = zip(torch.split(attacked.images, _BATCH), torch.split(attacked.labels, _BATCH), strict=True)
        return torch.cat(
            [
                walk(model, images.to(device), labels.to(device), eps=config.eps, steps=steps, rng=rng)
                for images, labels in batches
            ]
        )

    def validate() -> Mapping[str, float]:
        answers = metrics.predict(lambda images: model(images.to(device)), clean.images)
        accuracies = {
            "clean": metrics.accuracy(answers, clean.labels),
            "robust": metrics.accuracy(metrics.predict(model, under_attack()), attacked.labels),
        }
        return {**accuracies, _SELECT: sum(accuracies.values()) / len(accuracies)}

    return validate
