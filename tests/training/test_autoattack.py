"""AutoAttack as the test bench runs it: on the pipeline, within its ball, by its authors' code."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor, nn

from training import autoattack
from training.errors import EvaluationError

_N = 4


class Sums(nn.Module):
    """Logits (N, 10): ten fixed patterns' products with the image. Linear, so that what any attack can do is known."""

    def __init__(self, margin: float) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.patterns = torch.randn(10, 784, generator=generator).sign()
        self.bias = torch.zeros(10)
        self.bias[0] = margin

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 10)."""
        return (images.flatten(1) - 0.5) @ self.patterns.T + self.bias


def _reach(model: Sums) -> float:
    """The eps at which the nearest other class catches up with class 0 from a grey image."""
    return min(float(model.bias[0] / (model.patterns[k] - model.patterns[0]).abs().sum()) for k in range(1, 10))


@pytest.mark.parametrize(("share", "fooled"), [(0.9, False), (1.1, True)])
def test_it_finds_what_there_is_and_nothing_beyond_its_ball(share: float, fooled: bool) -> None:
    model = Sums(margin=40.0)
    eps = share * _reach(model)
    images = torch.full((_N, 1, 28, 28), 0.5)
    labels = torch.zeros(_N, dtype=torch.int64)
    found = autoattack.attack(model, images, labels, eps=eps, seed=0)

    assert found.shape == images.shape
    assert (found - images).abs().max().item() <= eps + 1e-6
    assert (model(found).argmax(1) != labels).tolist() == [fooled] * _N


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoattack, "_PACKAGE", "not_a_package_of_anyone")
    image = torch.zeros(1, 1, 28, 28)
    with pytest.raises(EvaluationError, match="not_a_package_of_anyone is not installed"):
        autoattack.attack(Sums(1.0), image, torch.zeros(1, dtype=torch.int64), eps=0.1, seed=0)
    assert "not_a_package_of_anyone" not in sys.modules
