"""VGG-16 for 28x28 grey images (arXiv 1409.1556), fine-tuned from ImageNet.

Thirteen convolutions with the ImageNet weights, then three fully connected layers of reduced width:
sixteen weight layers, 15 M parameters. The three-channel copy, the padding to 32x32 and the
normalisation are the first layers, so that ``eps`` means the same thing everywhere: the largest change
of a pixel in [0, 1]. Knows nothing of data, training or attacks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import VGG16_Weights, vgg16

from training.errors import BackboneError

_LAYOUT: tuple[int | str, ...] = (
    *(64, 64, "M", 128, 128, "M", 256, 256, 256, "M"),
    *(512, 512, 512, "M", 512, 512, 512, "M"),
)
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_PADDING = 2
_HIDDEN = 512
NUM_CLASSES = 10


class VGG16(nn.Module):
    """Images (N, 1, 28, 28) float32 in [0, 1] to logits (N, 10).

    Departures from the paper: the three fully connected layers have 512, 512 and 10 units, since a
    32x32 image leaves a single 512-vector behind the last pooling.

    Args:
        dropout: the drop probability between the fully connected layers, active in train mode only.
        width: share of the channels and units that each layer keeps.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dropout: float = 0.5, width: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.features = _convolutions(width)
        hidden = round(_HIDDEN * width)
        self.head = nn.Sequential(
            nn.Linear(round(512 * width), hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, NUM_CLASSES),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 10) of images (N, 1, 28, 28) in [0, 1]."""
        padded = nn.functional.pad(images, (_PADDING,) * 4)
        normalised = (padded - self.mean) / self.std
        return cast(Tensor, self.head(self.features(normalised).flatten(1)))

    def load_backbone(self, backbone: str | Path) -> None:
        """Put ImageNet's convolution weights in place; of a narrower net the first channels of each layer.

        Args:
            backbone: ``"imagenet"`` downloads torchvision's IMAGENET1K_V1 weights; anything else is a
                safetensors file with torchvision's ``features.*`` keys.

        Raises:
            BackboneError: the file is missing, or its keys or shapes are not VGG-16's.
        """
        weights = _narrowed(_read_backbone(backbone), self.features.state_dict())
        try:
            self.features.load_state_dict(weights)
        except RuntimeError as error:
            raise BackboneError(f"{backbone} does not hold VGG-16's convolutions: {error}") from error


def _convolutions(width: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for item in _LAYOUT:
        if isinstance(item, int):
            kept = round(item * width)
            layers += [nn.Conv2d(channels, kept, kernel_size=3, padding=1), nn.ReLU()]
            channels = kept
        else:
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
    return nn.Sequential(*layers)


def _narrowed(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The leading part of each weight, scaled so that a sum over fewer channels stays as large as it was."""
    if any(name not in own or own[name].ndim != weight.ndim for name, weight in weights.items()):
        return weights
    narrowed = {}
    for name, weight in weights.items():
        kept = weight[tuple(slice(size) for size in own[name].shape)]
        narrowed[name] = kept * (weight.shape[1] / kept.shape[1]) ** 0.75 if weight.ndim > 1 else kept
    return narrowed


def _read_backbone(backbone: str | Path) -> Mapping[str, Tensor]:
    if str(backbone) == "imagenet":
        try:
            state = vgg16(weights=VGG16_Weights.IMAGENET1K_V1).features.state_dict()
        except OSError as error:
            raise BackboneError(
                f"torchvision could not download VGG-16's ImageNet weights ({error}); give --backbone FILE"
            ) from error
        return cast(Mapping[str, Tensor], state)
    path = Path(backbone)
    if not path.is_file():
        raise BackboneError(
            f"backbone {str(backbone)!r} is not a file; allowed: 'imagenet' (torchvision's download) "
            "or the path of a safetensors file with torchvision's 'features.*' keys"
        )
    try:
        stored = load_file(path)
    except Exception as error:
        raise BackboneError(f"backbone {path} is not a safetensors file: {error}") from error
    return {
        key.removeprefix("features."): value.float() for key, value in stored.items() if key.startswith("features.")
    }
