"""Defense-VAE (arXiv 1812.06570): a variational auto-encoder from attacked images to clean ones, in one pass.

MagNet's (arXiv 1705.09064) reformer is the same idea without the sampled code. Knows no attack and no classifier.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.purifiers.codes import Decoder, Encoder

LATENT = 64


class DefenseVAE(nn.Module):
    """Images (N, 1, 28, 28) in [0, 1] and standard normal noise (N, 64) to images (N, 1, 28, 28) within (0, 1).

    Args:
        noise_std: how much of its own standard deviation each code is moved by; 1 in training.
    """

    def __init__(self, noise_std: float = 1.0) -> None:
        super().__init__()
        self.noise_std = noise_std
        self.noise_shape: tuple[int, ...] = (LATENT,)
        self.encoder = Encoder(LATENT)
        self.decoder = Decoder(LATENT)

    def forward(self, images: Tensor, noise: Tensor) -> Tensor:
        """Reconstructions; noise of zeros decodes the mean."""
        return torch.sigmoid(self.explain(images, noise)[0])

    def explain(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstructions before the sigmoid, and mean and logarithm of variance (N, 64) of their codes."""
        mean, log_variance = self.encoder(images)
        codes = mean + self.noise_std * torch.exp(0.5 * log_variance) * noise
        return self.decoder.logits(codes), mean, log_variance

    def draw_noise(self, n: int, device: torch.device) -> Tensor:
        """Standard normal noise (n, 64) from torch's global generator."""
        return torch.randn(n, *self.noise_shape, device=device)
