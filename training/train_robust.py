"""`python -m training purifier --defense autoencoder_robust`: a purifier that an attacker may know.

Adversarial training (arXiv 1706.06083) of the purifier before the frozen classifier. A gradient through VGG-16 costs
thirty times the purifier's encoder, so that the attack walks through a small reader of the codes in the place of
decoder and classifier. All that reaches the classifier is a function of the code, 64 numbers, and on a part of each
batch the reader learns how the classifier answers and the purifier how to be read: what the one takes for a digit the
other does too. Walks of few steps are cheap and can be outwitted: a second stage takes longer ones.
"""

from __future__ import annotations

import copy
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
from training.fingerprint import fingerprint
from training.fitting import BatchLoss, Job, fit
from training.pipeline import Pipeline, TorchWhiteBox, freeze
from training.purifiers import ARCHITECTURES
from training.purifiers.robust_autoencoder import LATENT, RobustAutoencoder
from training.robust_recipes import RobustConfig
from training.train_purifier import deterministic
from training.weights import round_to_stored_precision
from training.winograd import fastest

_SELECT = "mean_accuracy"
_VALIDATION_IMAGES = 1_000
_ATTACKED_IMAGES = 100
_VALIDATION_STEPS = 10
_BATCH = 50
# A classifier that has not yet learnt to read the purified images is sure of nonsense.
_LARGEST_DISAGREEMENT = 20.0


class _Pair(nn.Module):
    """The purifier, and the reader of its codes (N, 64) to logits (N, 10), which is thrown away in the end."""

    def __init__(self, purifier: RobustAutoencoder) -> None:
        super().__init__()
        self.purifier = purifier
        self.reader = nn.Sequential(nn.Linear(LATENT, 128), nn.GELU(), nn.Linear(128, 10))

    def read(self, images: Tensor, noise: Tensor) -> Tensor:
        """The reader's logits (N, 10)."""
        return cast(Tensor, self.reader(self.purifier.encode(images, noise)))


def train_robust(
    train: Examples,
    validation: Examples,
    classifier: nn.Module,
    *,
    config: RobustConfig,
    device: torch.device,
    folder: Path,
) -> nn.Module:
    """A purifier in eval mode, the best epoch by its mean validation accuracy, clean and under adaptive PGD.

    The attack of the validation goes through purifier and classifier. Resumes from `folder`.

    Raises:
        CheckpointError: see `fit`.
    """
    classifier = freeze(classifier)
    torch.manual_seed(config.seed)
    purifier = cast(RobustAutoencoder, ARCHITECTURES[config.architecture](config.noise_std))
    pair = _Pair(purifier).to(device).to(memory_format=torch.channels_last)
    job = Job(
        name=" ".join(folder.parts[-2:]),
        folder=folder,
        config=config,
        schedule=config.schedule,
        examples=len(train),
        select=_SELECT,
        seed=config.seed,
        depends_on=fingerprint(classifier),
    )
    polish = replace(job, name=f"{job.name} polish", folder=folder / "polish", schedule=config.polish.schedule)
    judge = fastest(classifier, device, mixed_precision=False)
    validate = _adaptive_validation(validation, purifier, judge, config, device)
    before = fit(job, pair, _objective(train, pair, judge, config, device, job.total_steps), validate)
    unpolished = copy.deepcopy(purifier.state_dict())
    longer = _objective(train, pair, judge, config.polished(), device, polish.total_steps)
    if fit(polish, pair, longer, validate)[_SELECT] < before[_SELECT]:
        purifier.load_state_dict(unpolished)
    round_to_stored_precision(purifier)
    torch.save(purifier.state_dict(), folder / "weights.pt")
    return purifier


def _objective(
    train: Examples, pair: _Pair, classifier: nn.Module, config: RobustConfig, device: torch.device, total_steps: int
) -> BatchLoss:
    def batch_loss(indices: Tensor, step: int) -> tuple[Tensor, Mapping[str, float]]:
        images, labels = train.images[indices].to(device), train.labels[indices].to(device)
        noise = pair.purifier.draw_noise(len(images), device)
        n = round(len(images) * (1 - config.clean))
        eps = config.eps * (min(1.0, (step + 1) / (config.ramp * total_steps)) if config.ramp else 1.0)
        rng = np.random.default_rng([config.seed, step])
        walked = _walk(
            lambda watched: pair.read(watched, noise[:n]), images[:n], labels[:n], eps, config.attack_steps, rng
        )
        codes = pair.purifier.encode(torch.cat([walked, images[n:]]), noise)
        purified, read = pair.purifier.decode(codes), pair.reader(codes)
        seen = _spread(len(images), config.classifier_share)
        # Only what the classifier sees is clamped: clamping under the squared error kills its gradient.
        answers = classifier(purified[seen].clamp(0, 1))
        terms = {
            "read": nn.functional.cross_entropy(read, labels),
            "squared_error": nn.functional.mse_loss(purified, images),
            "cross_entropy": nn.functional.cross_entropy(answers, labels[seen]),
            "disagreement": _divergence(read[seen], answers.detach()).clamp(max=_LARGEST_DISAGREEMENT),
        }
        loss = (
            terms["read"]
            + config.pixel_weight * terms["squared_error"]
            + config.classifier_weight * terms["cross_entropy"]
            + config.agreement_weight * terms["disagreement"]
        )
        return loss, {"eps": eps} | {name: term.item() for name, term in terms.items()}

    return batch_loss


def _walk(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    eps: float,
    steps: int,
    rng: np.random.Generator,
) -> Tensor:
    """PGD from a random start up a model's cross-entropy; the model knows the noise."""
    return cast(Tensor, pgd(TorchWhiteBox(model), images, labels, eps=eps, steps=steps, rng=rng).adv_images)


def _spread(n: int, share: float) -> Tensor:
    """Places of a share of n images, at equal distances, so that walked and unattacked ones are among them."""
    return torch.linspace(0, n - 1, max(1, round(n * share))).round().long()


def _divergence(logits: Tensor, answers: Tensor) -> Tensor:
    return nn.functional.kl_div(
        logits.log_softmax(dim=1), answers.log_softmax(dim=1), reduction="batchmean", log_target=True
    )


def _adaptive_validation(
    validation: Examples,
    purifier: RobustAutoencoder,
    classifier: nn.Module,
    config: RobustConfig,
    device: torch.device,
) -> Callable[[], Mapping[str, float]]:
    """A function that measures the accuracies of purifier and classifier, noise zero, clean and under adaptive PGD."""
    clean, attacked = validation.first(_VALIDATION_IMAGES), validation.first(_ATTACKED_IMAGES)
    model = deterministic(Pipeline(purifier, classifier), purifier)

    def under_attack() -> Tensor:
        rng = np.random.default_rng(config.seed)
        batches = zip(torch.split(attacked.images, _BATCH), torch.split(attacked.labels, _BATCH), strict=True)
        return torch.cat(
            [
                _walk(model, images.to(device), labels.to(device), config.eps, _VALIDATION_STEPS, rng)
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
