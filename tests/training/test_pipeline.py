from __future__ import annotations

import torch
from torch import nn

from training.data import Examples
from training.gradient_graph import trace_gradient
from training.pipeline import TorchWhiteBox, cross_entropy_cotangent


class _Sure(nn.Module):
    """A classifier whose logits are so far apart that a float32 softmax is exactly 1."""

    def __init__(self, classifier: nn.Module, factor: float) -> None:
        super().__init__()
        self.classifier = classifier
        self.factor = factor

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(images) * self.factor
        return logits


def _exact(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    watched = images.double().requires_grad_()
    loss = nn.functional.cross_entropy(model.double()(watched), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, watched)
    model.float()
    return gradient


def _unit(gradient: torch.Tensor) -> torch.Tensor:
    unit: torch.Tensor = gradient / torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
    return unit


def test_the_gradient_keeps_its_direction_where_the_softmax_is_one(classifier: nn.Module, examples: Examples) -> None:
    # Noise, since on plain ground rounding decides which of a pooling window's values is the largest.
    images = examples.images[:8] * 0.5 + 0.5 * torch.rand(8, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    largest = classifier(images).topk(2, dim=1).values
    # Margins of up to 25: enough for a softmax of 1, not for the others to vanish from float32.
    sure = _Sure(classifier, 25.0 / (largest[:, 0] - largest[:, 1]).max().item())
    labels = sure(images).argmax(1)
    confident = sure(images).softmax(1).amax(1) == 1
    assert confident.any()
    exact = _exact(sure, images, labels)[confident]
    traced = trace_gradient(sure, (torch.rand(3, 1, 28, 28), torch.rand(3, 10), torch.rand(3, 1)))
    cotangent = -nn.functional.one_hot(labels, 10).float()
    for gradient in (
        TorchWhiteBox(sure).loss_gradient(images, labels)[1],
        traced(images, cotangent, torch.ones(8, 1))[1],
    ):
        found = gradient[confident].double().flatten(1)
        torch.testing.assert_close(_unit(found), _unit(exact.flatten(1)), rtol=1e-3, atol=1e-4)


def test_the_cotangent_is_softmax_minus_one_hot_where_nothing_cancels() -> None:
    logits = torch.randn(5, 10, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(5)
    expected = logits.softmax(1) - nn.functional.one_hot(labels, 10)
    torch.testing.assert_close(cross_entropy_cotangent(logits, labels), expected)
