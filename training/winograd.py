"""The convolutions of a frozen network with fewer multiplications, which is what its gradients cost on a CPU.

On maps of 4x4 and 8x8 by Winograd's minimal filtering F(4x4, 3x3) (arXiv 1509.09308), a quarter of the multiplications;
on 2x2 maps as one matrix product, since five of nine products there are with the padding. The same function to float32
rounding. PyTorch's own CPU library has no such algorithm. On larger maps moving the tiles costs what is saved.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.devices import has_bf16

Net = TypeVar("Net", bound=nn.Module)
_TILE = 4
_WINDOW = _TILE + 2
_LARGEST_MAP = 8
# Fewer, and the transforms weigh more than the products between them.
_FEWEST_CHANNELS = 64

# B^T, G and A^T of F(4, 3) with the points 0, 1, -1, 2 and -2.
_INPUT = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
          [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]  # fmt: skip
_KERNEL = [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]  # in units of 1/24
_OUTPUT = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]


def fastest(classifier: Net, device: torch.device, *, mixed_precision: bool) -> Net:
    """A frozen classifier of images (N, 1, 28, 28) as its gradients by them come fastest on a device: `accelerated` on
    a CPU, unless it is used in bf16 (`autocast`) and the processor has that.
    """
    if device.type == "cuda" or (mixed_precision and has_bf16(device)):
        return classifier
    return accelerated(classifier, torch.zeros(1, 1, 28, 28))


def accelerated(model: Net, example: Tensor) -> Net:
    """A copy of a frozen model whose 3x3 convolutions on small maps are computed with fewer multiplications.

    The copy takes images of the example's size only, and gives gradients by images, not by weights.

    Args:
        model: in eval mode; it is left as it is.
        example: any input that the model takes.
    """
    model = copy.deepcopy(model)
    sizes: dict[nn.Conv2d, tuple[int, int]] = {}

    def note(module: nn.Module, _inputs: Any, output: Tensor) -> None:
        sizes[cast(nn.Conv2d, module)] = (output.shape[2], output.shape[3])

    hooks = [module.register_forward_hook(note) for module in model.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        model(example)
    for hook in hooks:
        hook.remove()
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and child in sizes and _is_plain(child):
                setattr(parent, name, _faster(child, *sizes[child]))
    return model


def _is_plain(convolution: nn.Conv2d) -> bool:
    """3x3, one pixel of zeros around, nothing skipped, all channels together, and a bias."""
    found = (convolution.kernel_size, convolution.stride, convolution.padding, convolution.dilation)
    return (
        found == ((3, 3), (1, 1), (1, 1), (1, 1))
        and convolution.groups == 1
        and convolution.padding_mode == "zeros"
        and convolution.bias is not None
    )


def _faster(convolution: nn.Conv2d, height: int, width: int) -> nn.Module:
    if height <= 2 and width <= 2:
        return _Dense(convolution, height, width)
    whole = height % _TILE == 0 and width % _TILE == 0 and max(height, width) <= _LARGEST_MAP
    wide = min(convolution.in_channels, convolution.out_channels) >= _FEWEST_CHANNELS
    return _Winograd(convolution) if whole and wide else convolution


class _Dense(nn.Module):
    """A convolution on maps of one size as the matrix that it is."""

    def __init__(self, convolution: nn.Conv2d, height: int, width: int) -> None:
        super().__init__()
        self._map = (height, width)
        pixels = height * width
        unit = torch.eye(convolution.in_channels * pixels).view(-1, convolution.in_channels, height, width)
        columns = functional.conv2d(unit, convolution.weight.detach(), padding=1).flatten(1)
        self.register_buffer("matrix", columns.T.contiguous())
        self.register_buffer("bias", _bias(convolution).repeat_interleave(pixels))

    def forward(self, maps: Tensor) -> Tensor:
        flat = functional.linear(maps.flatten(1), cast(Tensor, self.matrix), cast(Tensor, self.bias))
        return flat.view(len(maps), -1, *self._map)


class _Winograd(nn.Module):
    """A convolution on maps whose sides are multiples of 4."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        weight = convolution.weight.detach()
        self.register_buffer("forwards", _transformed(weight))
        self.register_buffer("backwards", _transformed(weight.flip(2, 3).transpose(0, 1)))
        self.register_buffer("bias", _bias(convolution).view(1, -1, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        return cast(Tensor, _Filtering.apply(maps, self.forwards, self.backwards)) + cast(Tensor, self.bias)


class _Filtering(torch.autograd.Function):
    """The gradient by the input is the same algorithm with flipped, transposed weights."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, forwards: Tensor, backwards: Tensor) -> Tensor:
        ctx.save_for_backward(backwards)
        return _filtered(maps, forwards)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _filtered(gradients[0], ctx.saved_tensors[0]), None, None


def _filtered(maps: Tensor, weight: Tensor) -> Tensor:
    """(N, C, H, W) to (N, K, H, W) with transformed weights (36, C, K), with a pixel of zeros around the maps."""
    n, channels, height, width = maps.shape
    padded = functional.pad(maps.permute(2, 3, 0, 1), (0, 0, 0, 0, 1, 1, 1, 1))  # channels last: they are moved as one
    windows = padded.unfold(0, _WINDOW, _TILE).unfold(1, _WINDOW, _TILE).permute(4, 5, 0, 1, 2, 3)
    rows, columns = windows.shape[2:4]
    transformed = _squared(_INPUT).to(maps) @ windows.reshape(_WINDOW**2, -1)
    products = torch.bmm(transformed.view(_WINDOW**2, rows * columns * n, channels), weight)
    tiles = _squared(_OUTPUT).to(maps) @ products.view(_WINDOW**2, -1)
    whole = tiles.view(_TILE, _TILE, rows, columns, n, -1).permute(2, 0, 3, 1, 4, 5)
    return whole.reshape(height, width, n, -1).permute(2, 3, 0, 1)


def _transformed(weight: Tensor) -> Tensor:
    """Weights (K, C, 3, 3) as (36, C, K), computed in float64."""
    kept, channels = weight.shape[:2]
    wide = _squared(_KERNEL).double() / 24**2 @ weight.double().reshape(kept * channels, 9).T
    return wide.view(_WINDOW**2, kept, channels).transpose(1, 2).to(weight.dtype).contiguous()


def _squared(matrix: list[list[int]]) -> Tensor:
    """The transform of rows as one of rows and columns at once."""
    one = torch.tensor(matrix, dtype=torch.float32)
    return torch.kron(one, one)


def _bias(convolution: nn.Conv2d) -> Tensor:
    return cast(Tensor, convolution.bias).detach()
