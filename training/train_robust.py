"""`python -m training purifier --defense autoencoder_robust`: a purifier that an attacker may know.

Adversarial training (arXiv 1706.06083) in stages. A gradient through VGG-16 costs several times as much as one through
the purifier's encoder, so that at first the attack walks through a small reader of the codes in the place of decoder
and classifier. All that reaches the classifier is a function of the code, 64 numbers. Short walks teach most of it and
can be outwitted: a second stage takes longer ones. In the last stage encoder and reader stay as they are, and the
decoder learns to draw, and to mark, what the classifier answers as the reader does, along the attacker's ways.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from service.attacks.norms import into_ball, random_start
from service.attacks.pgd import climb, default_step_size
from training import metrics
from training.augmentation import augment
from training.data import Examples
from training.devices import autocast
from training.fingerprint import fingerprint
from training.fitting import BatchLoss, Job, Validate, fit
from training.pipeline import Pipeline, TorchWhiteBox, freeze
from training.purifiers import ARCHITECTURES
from training.purifiers.robust_autoencoder import RobustAutoencoder
from training.robust_recipes import DrawingConfig, ReadingConfig, RobustConfig
from training.train_purifier import deterministic
from training.weights import round_to_stored_precision
from training.winograd import fastest

Model = Callable[[Tensor], Tensor]
Signs = np.ndarray[Any, np.dtype[np.float64]]
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
    """A purifier in eval mode, each reading's best epoch by its mean validation accuracy, clean and under adaptive PGD.

    The attack of the validation goes through the reader; that of the last stage, which keeps its last epoch, through
    purifier and classifier.
    Resumes from `folder`.

    Raises:
        CheckpointError: see `fit`.
    """
    classifier = freeze(classifier)
    torch.manual_seed(config.seed)
    purifier = cast(RobustAutoencoder, ARCHITECTURES[config.architecture](config.noise_std))
    purifier = purifier.to(device).to(memory_format=torch.channels_last)
    freeze(purifier.marks)

    def read(images: Tensor) -> Tensor:
        return purifier.read(purifier.encode(images, torch.zeros(len(images), *purifier.noise_shape, device=device)))

    name = " ".join(folder.parts[-2:])
    attacked = validation.first(_READER_IMAGES)
    validate = _adaptive_validation(validation, attacked, read, config, _READER_STEPS, device)
    for i, stage in enumerate(config.readings, 1):
        so_far = replace(config, readings=config.readings[:i], drawing=None)
        reading = _job(f"{name} reading {i}", folder / f"reading-{i}", so_far, train)
        fit(reading, purifier, _reading(train, purifier, config, stage, device, reading.total_steps), validate)

    freeze(purifier.encoder), freeze(purifier.reader)
    purifier.marks.requires_grad_(True)
    drawing = replace(
        _job(f"{name} drawing", folder, config, train),
        select=None,  # the few images of its validation tell epochs apart by chance
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


def _job(name: str, folder: Path, config: RobustConfig, train: Examples) -> Job:
    """A stage of the training that `config` ends with."""
    return Job(
        name=name,
        folder=folder,
        config=config,
        schedule=(config.drawing or config.readings[-1]).schedule,
        examples=len(train),
        select=_SELECT,
        seed=config.seed,
    )


def _reading(
    train: Examples,
    purifier: RobustAutoencoder,
    config: RobustConfig,
    stage: ReadingConfig,
    device: torch.device,
    total_steps: int,
) -> BatchLoss:
    def batch_loss(indices: Tensor, step: int) -> tuple[Tensor, Mapping[str, float]]:
        images, labels = augment(train.images[indices], stage).to(device), train.labels[indices].to(device)
        noise = purifier.draw_noise(len(images), device)
        n = round(len(images) * (1 - stage.clean))
        eps = config.eps * (min(1.0, (step + 1) / (stage.ramp * total_steps)) if stage.ramp else 1.0)
        rng = np.random.default_rng([config.seed, step])
        walked = _misread(purifier, images[:n], labels[:n], noise[:n], stage, eps, rng)
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
    stage, before = cast(DrawingConfig, config.drawing), config.readings[-1]

    def batch_loss(indices: Tensor, step: int) -> tuple[Tensor, Mapping[str, float]]:
        images, labels = augment(train.images[indices], before).to(device), train.labels[indices].to(device)
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
        misread = _misread(purifier, images[led:n], labels[led:n], noise[led:n], before, config.eps, rng)
        with torch.no_grad():
            codes = purifier.encode(torch.cat([through, misread, images[n:]]), noise)
            told = purifier.read(codes)
        purified = purifier.draw(codes, told)
        # Drawn from the codes of some images, told what others show: the classifier shall go by what is told.
        mixed = torch.randperm(len(images), device=device)[: round(len(images) * stage.mistold)]
        lies = told[mixed.roll(1)]
        drawn = torch.cat([purified, purifier.draw(codes[mixed], lies)])
        # Only what the classifier sees is clamped: clamping under the squared error kills its gradient.
        answers = classifier(drawn.clamp(0, 1))
        terms = {
            "disagreement": _divergence(answers, stage.sharpness * torch.cat([told, lies])),
            "squared_error": nn.functional.mse_loss(purified, images),
        }
        loss = terms["disagreement"] + stage.pixel_weight * terms["squared_error"]
        return loss, {name: term.item() for name, term in terms.items()}

    return batch_loss


def _misread(
    purifier: RobustAutoencoder,
    images: Tensor,
    labels: Tensor,
    noise: Tensor,
    stage: ReadingConfig,
    eps: float,
    rng: np.random.Generator,
) -> Tensor:
    """Images walked up the reader's loss as a stage has it."""
    return walk(
        lambda watched: purifier.read(purifier.encode(watched, noise)),
        images,
        labels,
        eps=eps,
        steps=stage.attack_steps,
        step_size=stage.step_size * eps,
        patterned=stage.patterned,
        rng=rng,
        mixed_precision=True,
    )


def walk(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    eps: float,
    steps: int,
    rng: np.random.Generator,
    step_size: float | None = None,
    patterned: float = 0.0,
    mixed_precision: bool = False,
) -> Tensor:
    """PGD up a model's cross-entropy, from a random or patterned start; the model knows the noise.

    Args:
        step_size: in pixels; by default 2.5 eps / steps.
        patterned: share of the images whose walk starts in a corner of the ball, see `ReadingConfig`.
    """
    victim = TorchWhiteBox(model, mixed_precision=mixed_precision)
    size = default_step_size(eps, steps) if step_size is None else step_size
    start = random_start(images, eps, "linf", rng)
    for i in range(round(len(images) * patterned)):
        start[i] = torch.from_numpy(eps * _rectangles(images.shape[-1], rng)).to(start)
    start = into_ball(images + start, images, eps, "linf")
    return cast(Tensor, climb(victim, start, images, labels, eps=eps, steps=steps, step_size=size))


def _rectangles(side: int, rng: np.random.Generator) -> Signs:
    """Signs (side, side), the same over each of equal rectangles; one as long as the side makes them stripes."""
    height, width = rng.choice([*range(1, side // 2 + 1), side], 2)
    signs = rng.choice([-1.0, 1.0], (-(-side // height), -(-side // width)))
    return np.kron(signs, np.ones((height, width)))[:side, :side]


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
