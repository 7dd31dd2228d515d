"""Input gradients as plain forward graphs, so that the service can attack without torch.

`torch.autograd.grad` is traced with make_fx into core operators, which `torch.onnx.export` understands; two
backward operators that ONNX lacks are decomposed here. Knows neither files nor data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._decomp import core_aten_decompositions
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

_aten = torch.ops.aten


def gradient_function(model: nn.Module) -> Callable[..., tuple[Tensor, Tensor]]:
    """(images, cotangent, softmax_weight, *noise) -> (logits, images_gradient), by autograd.

    With `softmax_weight` (N, 1) 0 the gradient is the vector-Jacobian product of `cotangent` (N, 10), for any loss.
    With 1 and a cotangent of minus one-hot it is the cross-entropy's: of softmax - one-hot, whose entry for the label
    is written as minus the sum of the others, because softmax - 1 rounds to 0 where the classifier is sure.

    Args:
        model: (images, *noise) to logits, in eval mode with frozen weights.
    """

    def gradient(images: Tensor, cotangent: Tensor, softmax_weight: Tensor, *noise: Tensor) -> tuple[Tensor, Tensor]:
        watched = images.detach().requires_grad_()
        logits = model(watched, *noise)
        others = torch.softmax(logits.detach(), dim=1) * (1 + cotangent)
        cross_entropy = others + cotangent * others.sum(dim=1, keepdim=True)
        total = softmax_weight * cross_entropy + (1 - softmax_weight) * cotangent
        (images_gradient,) = torch.autograd.grad(logits, watched, total)
        return logits.detach(), images_gradient

    return gradient


def trace_gradient(model: nn.Module, examples: tuple[Tensor, ...]) -> GraphModule:
    """`gradient_function` as one graph of core operators for any batch size.

    Args:
        model: (images, *noise) to logits, in eval mode with frozen weights; 3x3-like square kernels, no groups or
            dilation, and 2x2 pooling only.
        examples: one example of each input, of a batch above 1.
    """
    return trace(gradient_function(model), examples)


def trace(function: Callable[..., Any], examples: tuple[Tensor, ...]) -> GraphModule:
    """Any function that asks autograd for gradients, as one graph of core operators; see `trace_gradient`."""
    table: dict[Any, Callable[..., Any]] = {
        **core_aten_decompositions(),
        _aten.convolution_backward.default: _convolution_backward,
        _aten.max_pool2d_with_indices_backward.default: _max_pool_backward,
    }
    traced = make_fx(function, decomposition_table=table, tracing_mode="symbolic", _allow_non_fake_inputs=True)
    return traced(*examples)


def _convolution_backward(
    grad: Tensor,
    images: Tensor,
    weight: Tensor,
    bias_sizes: Any,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
    output_mask: Any,
) -> tuple[Tensor, None, None]:
    """The gradient by the input; by stride 1 a convolution with flipped weights, which ONNX Runtime runs fast."""
    kernel = weight.shape[2]
    if transposed:
        result = _aten.convolution(grad, weight, None, stride, padding, dilation, False, [0, 0], groups)
    elif stride[0] == 1:
        flipped = _aten.flip(weight, [2, 3]).transpose(0, 1)
        edge = kernel - 1 - padding[0]
        result = _aten.convolution(grad, flipped, None, [1, 1], [edge, edge], [1, 1], False, [0, 0], 1)
    else:
        rest = (images.shape[2] + 2 * padding[0] - kernel) % stride[0]
        result = _aten.convolution(grad, weight, None, stride, padding, dilation, True, [rest, rest], groups)
    return result, None, None


def _max_pool_backward(
    grad: Tensor,
    images: Tensor,
    kernel_size: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    ceil_mode: bool,
    indices: Tensor,
) -> Tensor:
    """For 2x2 pooling with stride 2. The first of equal maxima takes the gradient, as in torch.

    Ties are not rare: over a plain background all four values are equal.
    """
    corners = [images[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)]
    largest = _aten.max_pool2d_with_indices(images, kernel_size, stride)[0]
    zero = torch.zeros_like(grad)
    parts = []
    remaining = grad
    for corner in corners:
        hit = corner == largest
        parts.append(torch.where(hit, remaining, zero))
        remaining = torch.where(hit, zero, remaining)
    top, bottom = torch.stack(parts[:2], dim=-1), torch.stack(parts[2:], dim=-1)
    return torch.stack([top, bottom], dim=3).reshape(images.shape)
