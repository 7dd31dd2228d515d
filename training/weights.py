"""Weights are stored as float16 and computed with in float32: what is rounded once is measured and served."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def round_to_stored_precision(model: nn.Module) -> None:
    """Round every stored floating-point tensor in place to the nearest float16 value, kept as float32."""
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half().to(tensor.dtype))


def count_parameters(model: nn.Module) -> int:
    """Number of trained weights."""
    return sum(parameter.numel() for parameter in model.parameters())
