"""`python -m training purifier`: train a purifier against attacks on a frozen classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from training import attack_sets, metrics
from training.config import PurifierConfig
from training.data import Examples
from training.devices import autocast
from training.fitting import BatchLoss, Job, fit
from training.pipeline import Pipeline, Purifier, freeze
from training.purifiers import ARCHITECTURES
from training.weights import round_to_stored_precision

_VALIDATION_IMAGES = 1_000
_VALIDATION_FGSM_EPS = 0.6


@dataclass(frozen=True)
class AttackedExamples:
    """Training images with the attacks made on them, all (N, 1, 28, 28); PGD for the first images only."""

    examples: Examples
    fgsm_signs: Tensor
    least_likely_signs: Tensor
    pgd: Tensor
    pgd_eps: Tensor

    def batch(self, indices: Tensor, config: PurifierConfig) -> tuple[Tensor, Tensor]:
        """Attacked and clean images for one batch, drawn from torch's global generator."""
        n = len(indices)
        n_pgd, n_fgsm, n_clean = round(config.pgd * n), round(config.fgsm * n), round(config.clean * n)
        chosen = indices.clone()
        chosen[:n_pgd] = indices[:n_pgd] % len(self.pgd)
        clean = self.examples.images[chosen]
        attacked = clean.clone()
        attacked[:n_pgd] += self._pgd(chosen[:n_pgd])
        attacked[n_pgd : n_pgd + n_fgsm] += self._fgsm(chosen[n_pgd : n_pgd + n_fgsm], config)
        rest = attacked[n_pgd + n_fgsm + n_clean :]
        rest += (torch.rand_like(rest) * 2 - 1) * 0.5 * torch.rand(len(rest), 1, 1, 1)
        order = torch.randperm(n)
        return attacked.clamp_(0, 1)[order], chosen[order]

    def _pgd(self, chosen: Tensor) -> Tensor:
        scale = 0.5 + 0.5 * torch.rand(len(chosen), 1, 1, 1)
        return attack_sets.perturbation(self.pgd[chosen], self.pgd_eps[chosen]) * scale

    def _fgsm(self, chosen: Tensor, config: PurifierConfig) -> Tensor:
        # Large budgets are the harder ones, so that the density rises with eps.
        eps = torch.rand(len(chosen), 1, 1, 1).sqrt() * config.fgsm_eps
        towards = torch.rand(len(chosen), 1, 1, 1) < config.least_likely
        signs = torch.where(towards, self.least_likely_signs[chosen], self.fgsm_signs[chosen])
        return eps * signs.float()


def attack_training_set(
    classifier: nn.Module, train: Examples, *, config: PurifierConfig, device: torch.device, folder: Path
) -> AttackedExamples:
    """The training images under FGSM, towards the least likely class, and under PGD; kept in `folder`."""
    freeze(classifier)
    signs = attack_sets.gradient_signs(classifier, train, folder, device=device)
    towards = attack_sets.gradient_signs(classifier, train, folder, device=device, least_likely=True)
    some = train.first(config.attacked_images)
    stored, eps = attack_sets.pgd_perturbations(classifier, some, folder, device=device, seed=0)
    return AttackedExamples(train, signs, towards, stored, eps)


def train_purifier(
    attacked: AttackedExamples,
    validation: Examples,
    classifier: nn.Module,
    *,
    config: PurifierConfig,
    device: torch.device,
    folder: Path,
    attacks: Path,
) -> nn.Module:
    """A purifier in eval mode, the best epoch by the mean of its validation accuracies. Resumes from `folder`.

    Where the configuration has a `polish`, it goes on from the best epoch, and its own best is kept. The attacked
    validation images are kept in `attacks`.

    Raises:
        CheckpointError: see `fit`.
    """
    torch.manual_seed(config.seed)
    module = ARCHITECTURES[config.architecture](config.noise_std).to(device)
    classifier = freeze(classifier)
    validate = _validation(validation.first(_VALIDATION_IMAGES), classifier, module, attacks, device)
    stages = [(folder, config, config.schedule)]
    if config.polish is not None:
        stages.append((folder / "polish", _polishing(config), config.polish))
    for place, stage, schedule in stages:
        job = Job(
            name=" ".join(place.relative_to(folder.parents[1]).parts),
            folder=place,
            config=config,
            schedule=schedule,
            examples=len(attacked.examples),
            select="mean_accuracy",
            seed=config.seed,
            depends_on=attacks.parent.name,
        )
        fit(job, module, _objective(attacked, module, classifier, stage, device), validate)
    round_to_stored_precision(module)
    torch.save(module.state_dict(), folder / "weights.pt")
    return module


def _polishing(config: PurifierConfig) -> PurifierConfig:
    """The mix of the second stage: more clean images at the cost of all others, and the classifier from the start."""
    left = (1 - config.polish_clean) / (1 - config.clean)
    return replace(
        config, clean=config.polish_clean, fgsm=config.fgsm * left, pgd=config.pgd * left, classifier_epoch=0
    )


def _objective(
    attacked: AttackedExamples, module: nn.Module, classifier: nn.Module, config: PurifierConfig, device: torch.device
) -> BatchLoss:
    purifier = cast(Purifier, module)
    steps_per_epoch = len(attacked.examples) // config.schedule.batch_size

    def batch_loss(indices: Tensor, step: int) -> tuple[Tensor, Mapping[str, float]]:
        images, chosen = attacked.batch(indices, config)
        clean = attacked.examples.images[chosen].to(device)
        with autocast(device):
            restored = purifier(images.to(device), purifier.draw_noise(len(images), device)).float()
        loss = nn.functional.mse_loss(restored, clean)
        losses = {"squared_error": loss.item()}
        if config.classifier_weight and step >= config.classifier_epoch * steps_per_epoch:
            seen = round(len(images) * config.classifier_share)
            with autocast(device):
                # Only what the classifier sees is clamped: clamping under the squared error kills its gradient.
                logits = classifier(restored[:seen].clamp(0, 1))
            labels = attacked.examples.labels[chosen[:seen]].to(device)
            cross_entropy = nn.functional.cross_entropy(logits.float(), labels)
            losses["cross_entropy"] = cross_entropy.item()
            loss = loss + config.classifier_weight * cross_entropy
        losses.setdefault("cross_entropy", float("nan"))
        return loss, losses

    return batch_loss


def _validation(
    validation: Examples, classifier: nn.Module, module: nn.Module, attacks: Path, device: torch.device
) -> Any:
    """A function that measures the defended accuracies on clean, FGSM and PGD validation images (oblivious)."""
    signs = attack_sets.gradient_signs(classifier, validation, attacks, device=device)
    stored, eps = attack_sets.pgd_perturbations(classifier, validation, attacks, device=device, seed=1)
    sets = {
        "clean": validation.images,
        "fgsm": (validation.images + _VALIDATION_FGSM_EPS * signs.float()).clamp(0, 1),
        "pgd": (validation.images + attack_sets.perturbation(stored, eps)).clamp(0, 1),
    }
    purifier = cast(Purifier, module)
    pipeline = deterministic(Pipeline(module, classifier), purifier)

    def validate() -> Mapping[str, float]:
        accuracies = {
            name: metrics.accuracy(metrics.predict(lambda batch: pipeline(batch.to(device)), images), validation.labels)
            for name, images in sets.items()
        }
        return {**accuracies, "mean_accuracy": sum(accuracies.values()) / len(accuracies)}

    return validate


def deterministic(pipeline: Pipeline, purifier: Purifier) -> Any:
    """The pipeline as images -> logits with the latent noise at zero."""

    def logits(images: Tensor) -> Tensor:
        noise = torch.zeros(len(images), *purifier.noise_shape, device=images.device)
        return cast(Tensor, pipeline(images, noise))

    return logits
