"""The paper's own purifier: a convolutional auto-encoder with a 10-number latent and no skip connections.

88,667 parameters, as many as the authors' published code builds. Knows nothing of attacks or classifiers.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

_FLAT = 32 * 3 * 3


class PaperAutoencoder(nn.Module):
    """Images (N, 1, 28, 28) in [0, 1] and standard normal noise (N, 10) to reconstructed images (N, 1, 28, 28).

    The output is not clamped, so that the mean squared error keeps its gradient; the exported graph clamps it
    to [0, 1]. Departures from the paper: no sigmoid at the end, since with it the reconstruction collapses to
    black on MNIST; the noise is an input, so that a draw can be repeated.

    Args:
        noise_std: standard deviation of the Gaussian noise on the latent.
    """

    def __init__(self, noise_std: float = 1.0) -> None:
        super().__init__()
        self.noise_std = noise_std
        self.noise_shape: tuple[int, ...] = (10,)
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.BatchNorm2d(16),
            nn.GELU(),
            nn.Conv2d(16, 32, 3, stride=2),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(_FLAT, 128),
            nn.GELU(),
            nn.Linear(128, 10),
        )
        self.decoder = nn.Sequential(
            nn.Linear(10, 128),
            nn.GELU(),
            nn.Linear(128, _FLAT),
            nn.GELU(),
            nn.Unflatten(1, (32, 3, 3)),
            nn.ConvTranspose2d(32, 16, 3, stride=2),
            nn.BatchNorm2d(16),
            nn.GELU(),
            nn.ConvTranspose2d(16, 8, 3, stride=2, padding=1, output_padding=1),
            nn.BatchNorm2d(8),
            nn.GELU(),
            nn.ConvTranspose2d(8, 1, 3, stride=2, padding=1, output_padding=1),
        )

    def forward(self, images: Tensor, noise: Tensor) -> Tensor:
        """Unclamped reconstructions (N, 1, 28, 28); noise of zeros makes it deterministic."""
        latent = self.encoder(images) + self.noise_std * noise
        return cast(Tensor, self.decoder(latent))

    def draw_noise(self, n: int, device: torch.device) -> Tensor:
        """Standard normal noise (n, 10) from torch's global generator."""
        return torch.randn(n, *self.noise_shape, device=device)
