"""`python -m training purifier --defense puvae|defense_vae`: variational auto-encoders before a frozen classifier."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from training.attacked_examples import AttackedExamples
from training.config import VaeConfig
from training.data import Examples
from training.devices import autocast
from training.fitting import BatchLoss, Job, fit
from training.pipeline import freeze
from training.purifiers import ARCHITECTURES
from training.purifiers.codes import kl_divergence
from training.purifiers.defense_vae import DefenseVAE
from training.purifiers.puvae import CLASSES, PuVAE
from training.train_purifier import defended_validation
from training.weights import round_to_stored_precision
from training.winograd import fastest

_PIXELS = 28 * 28


def train_vae(
    train: Examples | AttackedExamples,
    validation: Examples,
    classifier: nn.Module,
    *,
    config: VaeConfig,
    device: torch.device,
    folder: Path,
    attacks: Path,
) -> nn.Module:
    """A generative purifier in eval mode, the best epoch by the mean of its validation accuracies.

    With attacked examples it learns to draw clean images from attacked ones (Defense-VAE), with plain ones to draw
    each, from one with noise on its pixels, as a class that the classifier takes it for (PuVAE). Resumes from
    `folder`; the attacked validation images are kept in `attacks`.

    Raises:
        CheckpointError: see `fit`.
    """
    torch.manual_seed(config.seed)
    module = ARCHITECTURES[config.architecture](config.noise_std).to(device)
    classifier = freeze(classifier)
    if isinstance(train, AttackedExamples):
        loss = _denoising(train, cast(DefenseVAE, module), config, device)
        examples = len(train.examples)
    else:
        judge = fastest(classifier, device, mixed_precision=True)
        loss = _conditional(train, cast(PuVAE, module), judge, config, device)
        examples = len(train)
    job = Job(
        name=" ".join(folder.parts[-2:]),
        folder=folder,
        config=config,
        schedule=config.schedule,
        examples=examples,
        select="mean_accuracy",
        seed=config.seed,
        depends_on=attacks.parent.name,
    )
    validate = defended_validation(validation, classifier, module, attacks, device, fgsm_eps=config.validation_fgsm_eps)
    fit(job, module, loss, validate)
    round_to_stored_precision(module)
    torch.save(module.state_dict(), folder / "weights.pt")
    return module


def elbo(logits: Tensor, images: Tensor, mean: Tensor, log_variance: Tensor, kl_weight: float) -> tuple[Tensor, Tensor]:
    """Negative evidence lower bounds in nats a pixel (scalar), and the share of the reconstruction in them (scalar).

    The likelihood of a pixel in [0, 1] is a Bernoulli's, as usual for these data sets.
    """
    drawn = nn.functional.binary_cross_entropy_with_logits(logits, images, reduction="none").sum(dim=(1, 2, 3)).mean()
    divergence = kl_divergence(mean, log_variance).mean()
    return (drawn + kl_weight * divergence) / _PIXELS, drawn / _PIXELS


def _denoising(attacked: AttackedExamples, module: DefenseVAE, config: VaeConfig, device: torch.device) -> BatchLoss:
    def batch_loss(indices: Tensor, step: int) -> tuple[Tensor, Mapping[str, float]]:
        images, chosen = attacked.batch(indices, config)
        clean = attacked.examples.images[chosen].to(device)
        explained = module.explain(images.to(device), module.draw_noise(len(images), device))
        loss, drawn = elbo(explained[0], clean, *explained[1:], config.kl_weight)
        return loss, {"bound": loss.item(), "reconstruction": drawn.item()}

    return batch_loss


def _conditional(
    train: Examples, module: PuVAE, classifier: nn.Module, config: VaeConfig, device: torch.device
) -> BatchLoss:
    judged_from = config.classifier_epoch * (len(train) // config.schedule.batch_size)

    def batch_loss(indices: Tensor, step: int) -> tuple[Tensor, Mapping[str, float]]:
        images, labels = train.images[indices].to(device), train.labels[indices].to(device)
        seen = _moved(images, config.pixel_noise, config.share_moved)
        logits, mean, log_variance = _as_classes(module, seen, labels)
        loss, drawn = elbo(logits, images, mean, log_variance, config.kl_weight)
        losses = {"bound": loss.item(), "reconstruction": drawn.item(), "cross_entropy": math.nan}
        if step < judged_from or not config.classifier_weight:
            return loss, losses
        n = round(len(images) * config.classifier_share)
        # A candidate of the wrong class must look like that class, or it is near the image and chosen for it.
        others = torch.randint(CLASSES, (n,), device=device)
        candidates = torch.sigmoid(torch.cat([logits[:n], _as_classes(module, seen[:n], others)[0]]))
        with autocast(device):
            answers = classifier(candidates).float()
        cross_entropy = nn.functional.cross_entropy(answers, torch.cat([labels[:n], others]))
        losses["cross_entropy"] = cross_entropy.item()
        return loss + config.classifier_weight * cross_entropy, losses

    return batch_loss


def _as_classes(module: PuVAE, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What `PuVAE.explain` gives for images as these classes (N,), with fresh noise."""
    noise = module.draw_noise(len(images), images.device)[:, 0]
    return module.explain(images, nn.functional.one_hot(labels, CLASSES).float(), noise)


def _moved(images: Tensor, most: float, share: float) -> Tensor:
    """The images with every pixel of a share of them moved by one distance up to `most`, up or down by chance."""
    shape = (len(images), 1, 1, 1)
    distances = most * torch.rand(shape, device=images.device) * (torch.rand(shape, device=images.device) < share)
    return (images + distances * torch.randn_like(images).sign()).clamp(0, 1)
