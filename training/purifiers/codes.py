"""What the generative purifiers share: images to codes, and codes to images. Knows no purifier."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

_CHANNELS = 32
_SMALL = 7


class Encoder(nn.Module):
    """Images (N, 1, 28, 28) and conditions (N, conditions) to means and logarithms of variances, (N, latent) each."""

    def __init__(self, latent: int, conditions: int = 0) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, _CHANNELS, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(_CHANNELS, 2 * _CHANNELS, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.hidden = nn.Linear(2 * _CHANNELS * _SMALL**2 + conditions, 256)
        self.statistics = nn.Linear(256, 2 * latent)

    def forward(self, images: Tensor, conditions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The Gaussian of the codes of each image; logarithms of variances within [-8, 4]."""
        features = self.convolutions(images)
        if conditions is not None:
            features = torch.cat([features, conditions], dim=1)
        mean, log_variance = self.statistics(torch.relu(self.hidden(features))).chunk(2, dim=1)
        return mean, log_variance.clamp(-8.0, 4.0)


class Decoder(nn.Module):
    """Codes (N, size) to images (N, 1, 28, 28) within (0, 1).

    It grows images by folding channels into pixels, since ONNX Runtime's transposed convolutions are slow on CPUs.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(size, 2 * _CHANNELS * _SMALL**2),
            nn.ReLU(),
            nn.Unflatten(1, (2 * _CHANNELS, _SMALL, _SMALL)),
            nn.Conv2d(2 * _CHANNELS, 4 * _CHANNELS, 3, padding=1),
            nn.PixelShuffle(2),
            nn.ReLU(),
            nn.Conv2d(_CHANNELS, 4, 3, padding=1),
            nn.PixelShuffle(2),
        )

    def logits(self, codes: Tensor) -> Tensor:
        """The images before the sigmoid."""
        return cast(Tensor, self.layers(codes))

    def forward(self, codes: Tensor) -> Tensor:
        """The images."""
        return torch.sigmoid(self.logits(codes))


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """From N(mean, variance) to the standard normal, in nats, summed over the code: (N,)."""
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=1)
