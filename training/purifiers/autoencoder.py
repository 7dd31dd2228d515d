"""The shipped purifier: a U-shaped convolutional auto-encoder with a skip connection.

GELU activations and Gaussian noise on the latent as in the paper; unlike the paper's it keeps the latent
spatial (7x7) and hands the 14x14 features across, so that what a clean image shows is not lost on the way.
It sees pixels as Fourier features (arXiv 2006.10739): what a pixel was before an attack is an oscillating function of
what it is now (after FGSM .6, 0 and .6 were black, .4 and 1 white), which convolutions learn slowly from bare values.
Knows nothing of attacks or classifiers.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn


class Autoencoder(nn.Module):
    """Images (N, 1, 28, 28) in [0, 1] and standard normal noise (N, 2 width, 7, 7) to images (N, 1, 28, 28).

    The output is not clamped, so that the mean squared error keeps its gradient; the exported graph clamps it
    to [0, 1].

    Args:
        width: channels at 14x14; twice as many at 7x7.
        depth: residual blocks at 7x7.
        octaves: Fourier features of a pixel: sine and cosine of pi, 2 pi, … 2^(octaves - 1) pi times its value.
        noise_std: standard deviation of the Gaussian noise on the latent.
        gated: the network also says how surely an image is unattacked, and keeps as much of it: redrawing a clean
            garment costs the classifier accuracy, keeping it does not.
    """

    def __init__(
        self, width: int = 48, depth: int = 3, octaves: int = 5, noise_std: float = 0.1, *, gated: bool = False
    ) -> None:
        super().__init__()
        self.noise_std = noise_std
        self.noise_shape: tuple[int, ...] = (2 * width, 7, 7)
        self.encoder = nn.Sequential(
            _Fold(),
            _FourierFeatures(octaves),
            nn.Conv2d(4 * (1 + 2 * octaves), width, 3, padding=1),
            Block(width),
        )
        self.down = nn.Sequential(nn.GELU(), nn.Conv2d(width, 2 * width, 3, stride=2, padding=1))
        self.bottom = nn.Sequential(*(Block(2 * width) for _ in range(depth)))
        self.up = nn.Sequential(nn.GELU(), nn.Conv2d(2 * width, 4 * width, 1), nn.PixelShuffle(2))
        self.merge = nn.Conv2d(2 * width, width, 3, padding=1)
        self.gated = gated
        drawn = 8 if gated else 4
        self.decoder = nn.Sequential(Block(width), nn.GELU(), nn.Conv2d(width, drawn, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, images: Tensor, noise: Tensor) -> Tensor:
        """Unclamped reconstructions (N, 1, 28, 28); noise of zeros makes it deterministic."""
        return self.redraw(images, noise)[0]

    def redraw(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The reconstructions, and the logits (N,) of the image being unattacked: empty (0,) where not gated."""
        skip = self.encoder(images)
        latent = self.bottom(self.down(skip)) + self.noise_std * noise
        drawn = self.decoder(self.merge(torch.cat([self.up(latent), skip], dim=1)))
        if not self.gated:
            return drawn, drawn.new_empty(0)
        redrawn, votes = drawn[:, :1], drawn[:, 1:].mean(dim=(2, 3), keepdim=True)
        # Judgements of 9 in 10 and more are final, so that an image passes bit for bit: a rounding error beside black
        # would decide the ties of the classifier's pooling, and with them its gradient.
        share = torch.clamp(1.25 * torch.sigmoid(-votes) - 0.125, 0.0, 1.0)
        return images + share * (redrawn - images), votes.flatten()

    def draw_noise(self, n: int, device: torch.device) -> Tensor:
        """Standard normal noise (n, 2 width, 7, 7) from torch's global generator."""
        return torch.randn(n, *self.noise_shape, device=device)


class _Fold(nn.Module):
    """Images (N, 1, H, W) to (N, 4, H / 2, W / 2): 2x2 pixels as channels, as nn.PixelUnshuffle, which would become a
    transpose in six dimensions in ONNX. Nothing is lost, and the widest layers become four times cheaper.
    """

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([images[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)], dim=1)


class _FourierFeatures(nn.Module):
    """(N, C, H, W) to (N, C (1 + 2 octaves), H, W): the values, their sines and their cosines, octave by octave."""

    def __init__(self, octaves: int) -> None:
        super().__init__()
        frequencies = math.pi * 2.0 ** torch.arange(octaves)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        angles = values[:, None] * cast(Tensor, self.frequencies)[:, None, None, None]
        angles = angles.reshape(-1, angles.shape[1] * angles.shape[2], *angles.shape[3:])
        return torch.cat([values, torch.sin(angles), torch.cos(angles)], dim=1)


class Block(nn.Module):
    """x + conv(gelu(conv(gelu(x)))), the second convolution starting at zero so that a block starts as identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(cast(nn.Parameter, self.second.bias))

    def forward(self, features: Tensor) -> Tensor:
        hidden = self.first(nn.functional.gelu(features))
        return features + cast(Tensor, self.second(nn.functional.gelu(hidden)))
