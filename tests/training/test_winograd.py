"""The convolutions with fewer multiplications against the plain ones, on logits and on gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from training.classifiers.vgg16 import VGG16
from training.pipeline import freeze
from training.winograd import accelerated, fastest


def test_vgg16_answers_and_descends_as_before_to_rounding() -> None:
    torch.manual_seed(0)
    model = freeze(VGG16())
    images = torch.rand(3, 1, 28, 28)
    faster = accelerated(model, images[:1])
    assert sum(isinstance(module, nn.Conv2d) for module in faster.modules()) == 4, "those on maps of 16x16 and 32x32"
    (expected, slope), (found, faster_slope) = _looked_at(model.double(), images.double()), _looked_at(faster, images)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    torch.testing.assert_close(faster_slope.double(), slope, rtol=0, atol=1e-5 * slope.abs().max().item())


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_one_convolution_and_its_gradient_on_every_small_map(size: int) -> None:
    torch.manual_seed(size)
    model = nn.Sequential(nn.Conv2d(64, 96, 3, padding=1)).requires_grad_(False)
    maps = torch.randn(2, 64, size, size)
    faster = accelerated(model, maps)
    assert not isinstance(faster[0], nn.Conv2d)
    assert isinstance(model[0], nn.Conv2d), "the model itself is left alone"
    for expected, found in zip(_looked_at(model, maps), _looked_at(faster, maps), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(64, 64, 3, padding=1, stride=2),
        nn.Conv2d(64, 64, 3, padding=1, groups=2),
        nn.Conv2d(64, 64, 3, padding=2, dilation=2),
        nn.Conv2d(64, 64, 3, padding=1, padding_mode="circular"),
        nn.Conv2d(64, 64, 3, padding=1, bias=False),
        nn.Conv2d(64, 64, 5, padding=2),
        nn.Conv2d(64, 32, 3, padding=1),
    ],
)
def test_what_it_cannot_do_or_does_no_faster_stays_as_it_is(convolution: nn.Conv2d) -> None:
    faster = accelerated(nn.Sequential(convolution).requires_grad_(False), torch.zeros(1, 64, 8, 8))
    assert isinstance(faster[0], nn.Conv2d)


def test_large_maps_stay_with_the_plain_convolution() -> None:
    plain = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1)).requires_grad_(False)
    assert isinstance(accelerated(plain, torch.zeros(1, 64, 12, 12))[0], nn.Conv2d)


@pytest.mark.parametrize(
    ("device", "mixed_precision", "bf16", "plain"),
    [("cpu", False, False, 4), ("cpu", False, True, 4), ("cpu", True, False, 4), ("cpu", True, True, 13),
     ("cuda", False, False, 13)],
)  # fmt: skip
def test_a_cpu_without_bf16_for_the_job_walks_the_net_of_fewer_multiplications(
    device: str, mixed_precision: bool, bf16: bool, plain: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.winograd.has_bf16", lambda _: bf16)
    net = fastest(freeze(VGG16()), torch.device(device), mixed_precision=mixed_precision)
    assert sum(isinstance(module, nn.Conv2d) for module in net.modules()) == plain


def _looked_at(model: nn.Module, maps: Tensor) -> tuple[Tensor, Tensor]:
    """The output, and the gradient of a weighted sum of it."""
    watched = maps.clone().requires_grad_()
    output = model(watched)
    weights = torch.linspace(-1, 2, output.numel(), dtype=output.dtype).view(output.shape)
    (gradient,) = torch.autograd.grad(output, watched, weights)
    return output.detach(), gradient
