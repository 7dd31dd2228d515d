"""Attacked training images in the mix that a purifier learns from. Knows no purifier."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from training import attack_sets
from training.config import PurifierConfig, VaeConfig
from training.data import Examples
from training.pipeline import freeze


@dataclass(frozen=True)
class AttackedExamples:
    """Training images with the attacks made on them, all (N, 1, 28, 28); PGD for the first images only.

    `clean_logits` (N, 10) are the frozen classifier's answers to the images as they are.
    """

    examples: Examples
    fgsm_signs: Tensor
    least_likely_signs: Tensor
    pgd: Tensor
    pgd_eps: Tensor
    clean_logits: Tensor

    def batch(self, indices: Tensor, config: PurifierConfig | VaeConfig) -> tuple[Tensor, Tensor]:
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

    def _fgsm(self, chosen: Tensor, config: PurifierConfig | VaeConfig) -> Tensor:
        # Large budgets are the harder ones, so that the density rises with eps.
        eps = torch.rand(len(chosen), 1, 1, 1).sqrt() * config.fgsm_eps
        towards = torch.rand(len(chosen), 1, 1, 1) < config.least_likely
        signs = torch.where(towards, self.least_likely_signs[chosen], self.fgsm_signs[chosen])
        return eps * signs.float()


def attack_training_set(
    classifier: nn.Module, train: Examples, *, config: PurifierConfig | VaeConfig, device: torch.device, folder: Path
) -> AttackedExamples:
    """The training images under FGSM, towards the least likely class, and under PGD; kept in `folder`."""
    freeze(classifier)
    signs = attack_sets.gradient_signs(classifier, train, folder, device=device)
    towards = attack_sets.gradient_signs(classifier, train, folder, device=device, least_likely=True)
    some = train.first(config.attacked_images)
    stored, eps = attack_sets.pgd_perturbations(classifier, some, folder, device=device, seed=0)
    answers = attack_sets.clean_logits(classifier, train, folder, device=device)
    return AttackedExamples(train, signs, towards, stored, eps, answers)
