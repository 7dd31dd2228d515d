from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from service.attacks import fgsm
from training import attack_sets
from training.data import Examples
from training.pipeline import TorchWhiteBox

CPU = torch.device("cpu")


def test_stored_signs_give_the_fgsm_images_of_every_eps(
    classifier: nn.Module, examples: Examples, tmp_path: Path
) -> None:
    signs = attack_sets.gradient_signs(classifier, examples, tmp_path, device=CPU)
    model = TorchWhiteBox(classifier, mixed_precision=True)
    for eps in (0.1, 0.6):
        expected = fgsm(model, examples.images, examples.labels, eps=eps).adv_images
        assert torch.equal((examples.images + eps * signs.float()).clamp(0, 1), expected)


def test_least_likely_signs_raise_that_class(classifier: nn.Module, examples: Examples, tmp_path: Path) -> None:
    signs = attack_sets.gradient_signs(classifier, examples, tmp_path, device=CPU, least_likely=True)
    towards = classifier(examples.images).argmin(1, keepdim=True)
    moved = (examples.images + 0.05 * signs.float()).clamp(0, 1)

    def share(images: torch.Tensor) -> torch.Tensor:
        return torch.softmax(classifier(images), 1).gather(1, towards)

    assert (share(moved) > share(examples.images)).float().mean() > 0.9


def test_pgd_perturbations_stay_in_their_ball_and_hurt(
    classifier: nn.Module, examples: Examples, tmp_path: Path
) -> None:
    stored, eps = attack_sets.pgd_perturbations(classifier, examples, tmp_path, device=CPU, seed=0)
    moved = attack_sets.perturbation(stored, eps)
    assert (moved.abs().amax(dim=(1, 2, 3)) <= eps + 1e-6).all()

    def loss(images: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(classifier(images), examples.labels)

    assert loss((examples.images + moved).clamp(0, 1)) > loss(examples.images)


def test_a_second_call_reads_what_the_first_one_kept(classifier: nn.Module, examples: Examples, tmp_path: Path) -> None:
    first = attack_sets.gradient_signs(classifier, examples, tmp_path, device=CPU)
    second = attack_sets.gradient_signs(nn.Identity(), examples, tmp_path, device=CPU)
    assert torch.equal(first, second)
