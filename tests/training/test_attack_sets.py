from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from service.attacks import fgsm
from training import attack_sets
from training.data import Examples
from training.devices import autocast
from training.pipeline import TorchWhiteBox
from training.winograd import accelerated

CPU = torch.device("cpu")


@pytest.mark.parametrize("bf16", [True, False])
def test_stored_signs_give_the_fgsm_images_of_every_eps(
    classifier: nn.Module, examples: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bf16: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "amx_bf16": bf16}, raising=False)
    signs = attack_sets.gradient_signs(classifier, examples, tmp_path, device=CPU)
    if not bf16:
        classifier = accelerated(classifier, examples.images[:1])
    model = TorchWhiteBox(classifier, mixed_precision=bf16)
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


@pytest.mark.parametrize(("capabilities", "expected"), [({"avx512_bf16": True}, True), ({"avx512_bf16": False}, False)])
def test_only_a_cpu_that_multiplies_bf16_is_asked_to(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    with autocast(CPU):
        assert torch.is_autocast_enabled("cpu") is expected
