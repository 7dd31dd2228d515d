"""`python -m training purifier`: train a purifier against attacks on a frozen classifier."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from training import attack_sets, metrics
from training.attacked_examples import AttackedExamples
from training.config import PurifierConfig
from training.data import Examples
from training.devices import autocast
from training.fitting import BatchLoss, Job, fit
from training.pipeline import Pipeline, Purifier, freeze
from training.purifiers import ARCHITECTURES
from training.purifiers.autoencoder import Autoencoder
from training.weights import round_to_stored_precision
from training.winograd import fastest

_VALIDATION_IMAGES = 1_000
_VALIDATION_FGSM_EPS = 0.6
# Below this an image is not attacked: no 8-bit file would show it.
_GREY_LEVEL = 1 / 255


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

    Each polish goes on from the best epoch of the stage before, and its own best is kept. The attacked validation
    images are kept in `attacks`.

    Raises:
        CheckpointError: see `fit`.
    """
    torch.manual_seed(config.seed)
    module = ARCHITECTURES[config.architecture](config.noise_std).to(device)
    classifier = freeze(classifier)
    validate = defended_validation(validation, classifier, module, attacks, device, fgsm_eps=_VALIDATION_FGSM_EPS)
    judge = fastest(classifier, device, mixed_precision=True)
    for number, stage in enumerate(config.stages()):
        place = folder / f"polish-{number}" if number else folder
        job = Job(
            name=" ".join(place.relative_to(folder.parents[1]).parts),
            folder=place,
            config=config,
            schedule=stage.schedule,
            examples=len(attacked.examples),
            select="mean_accuracy",
            seed=config.seed,
            depends_on=attacks.parent.name,
        )
        fit(job, module, _objective(attacked, module, judge, stage, device), validate)
    round_to_stored_precision(module)
    torch.save(module.state_dict(), folder / "weights.pt")
    return module


def _objective(
    attacked: AttackedExamples, module: nn.Module, classifier: nn.Module, config: PurifierConfig, device: torch.device
) -> BatchLoss:
    steps_per_epoch = len(attacked.examples) // config.schedule.batch_size

    def batch_loss(indices: Tensor, step: int) -> tuple[Tensor, Mapping[str, float]]:
        images, chosen = attacked.batch(indices, config)
        clean = attacked.examples.images[chosen].to(device)
        with autocast(device):
            restored, unattacked = _restore(module, images.to(device), gated=config.gate_weight > 0)
        loss = nn.functional.mse_loss(restored, clean)
        losses = {"squared_error": loss.item(), "gate": math.nan, "cross_entropy": math.nan, "disagreement": math.nan}
        if config.gate_weight:
            moved = (images.to(device) - clean).abs().amax(dim=(1, 2, 3))
            gate = nn.functional.binary_cross_entropy_with_logits(unattacked, (moved <= _GREY_LEVEL).float())
            losses["gate"] = gate.item()
            loss = loss + config.gate_weight * gate
        if step < config.classifier_epoch * steps_per_epoch or not (
            config.classifier_weight or config.agreement_weight
        ):
            return loss, losses
        seen = chosen[: round(len(images) * config.classifier_share)]
        with autocast(device):
            # Only what the classifier sees is clamped: clamping under the squared error kills its gradient.
            logits = classifier(restored[: len(seen)].clamp(0, 1)).float()
        cross_entropy = nn.functional.cross_entropy(logits, attacked.examples.labels[seen].to(device))
        answers = attacked.clean_logits[seen].to(device).log_softmax(dim=1)
        disagreement = nn.functional.kl_div(logits.log_softmax(dim=1), answers, reduction="batchmean", log_target=True)
        losses.update(cross_entropy=cross_entropy.item(), disagreement=disagreement.item())
        return loss + config.classifier_weight * cross_entropy + config.agreement_weight * disagreement, losses

    return batch_loss


def _restore(module: nn.Module, images: Tensor, *, gated: bool) -> tuple[Tensor, Tensor]:
    """Restored images and, of a gated architecture, the logits (N,) of their being unattacked; with fresh noise."""
    purifier = cast(Purifier, module)
    noise = purifier.draw_noise(len(images), images.device)
    if not gated:
        return purifier(images, noise).float(), torch.empty(0)
    restored, unattacked = cast(Autoencoder, module).redraw(images, noise)
    return restored.float(), unattacked.float()


def defended_validation(
    validation: Examples,
    classifier: nn.Module,
    module: nn.Module,
    attacks: Path,
    device: torch.device,
    *,
    fgsm_eps: float,
) -> Any:
    """A function that measures the defended accuracies on clean, FGSM and PGD validation images (oblivious)."""
    validation = validation.first(_VALIDATION_IMAGES)
    signs = attack_sets.gradient_signs(classifier, validation, attacks, device=device)
    stored, eps = attack_sets.pgd_perturbations(classifier, validation, attacks, device=device, seed=1)
    sets = {
        "clean": validation.images,
        "fgsm": (validation.images + fgsm_eps * signs.float()).clamp(0, 1),
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
