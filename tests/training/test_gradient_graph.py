from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from training.data import Examples
from training.gradient_graph import trace_gradient
from training.pipeline import Pipeline, TorchWhiteBox, freeze
from training.purifiers.autoencoder import Autoencoder
from training.purifiers.paper_autoencoder import PaperAutoencoder


def _vjp_inputs(labels: Tensor) -> tuple[Tensor, Tensor]:
    return -nn.functional.one_hot(labels, 10).float(), torch.ones(len(labels), 1)


def test_weight_one_and_minus_one_hot_give_the_cross_entropys_gradient(
    classifier: nn.Module, examples: Examples
) -> None:
    traced = trace_gradient(classifier, (torch.rand(3, 1, 28, 28), torch.rand(3, 10), torch.rand(3, 1)))
    images, labels = examples.images[:7], examples.labels[:7]
    logits, gradient = traced(images, *_vjp_inputs(labels))
    expected_logits, expected = TorchWhiteBox(classifier).loss_gradient(images, labels)
    torch.testing.assert_close(logits, expected_logits)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-7)


def test_weight_zero_gives_any_vector_jacobian_product(classifier: nn.Module, examples: Examples) -> None:
    traced = trace_gradient(classifier, (torch.rand(3, 1, 28, 28), torch.rand(3, 10), torch.rand(3, 1)))
    images = examples.images[:4].clone().requires_grad_()
    cotangent = torch.randn(4, 10, generator=torch.Generator().manual_seed(0))
    _, gradient = traced(images.detach(), cotangent, torch.zeros(4, 1))
    (expected,) = torch.autograd.grad(classifier(images), images, cotangent)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("purifier", [Autoencoder(width=8, depth=1), PaperAutoencoder()])
def test_the_pipelines_gradient_goes_through_the_purifier(
    purifier: Autoencoder | PaperAutoencoder, classifier: nn.Module
) -> None:
    pipeline = freeze(Pipeline(purifier, classifier))
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, 1, 28, 28, generator=generator)
    noise = torch.randn(4, *purifier.noise_shape, generator=generator)
    labels = torch.arange(4)
    inputs = (images[:3], torch.rand(3, 10), torch.rand(3, 1), noise[:3])
    _, gradient = trace_gradient(pipeline, inputs)(images, *_vjp_inputs(labels), noise)
    watched = images.clone().requires_grad_()
    loss = nn.functional.cross_entropy(pipeline(watched, noise), labels, reduction="sum")
    (expected,) = torch.autograd.grad(loss, watched)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-8)
