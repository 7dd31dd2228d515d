"""A convolutional auto-encoder whose whole way from image to image leads through a short code, without a skip.

U-shaped like the paper's, with Gaussian noise on the latent. No skip connection: whatever passes by the code carries
an attack to the classifier. A small reader says what the code shows, and the decoder is told: what one reading of the
code can't be led astray by, another one can, and the classifier's reading of the picture shall be the reader's. A
frozen classifier is led by a faint pattern as an attacker would lead it: each class that the reader names leaves its
mark on the picture, a fixed pattern. Of a pixel the encoder sees the value and three soft steps of it, at a quarter, a
half and three quarters of white: the middle one hardly moves near black and white, where most of MNIST's pixels lie.
Knows nothing of attacks or classifiers.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from training.purifiers.autoencoder import Block

LATENT = 64
_CLASSES = 10
_WIDTH = 64
_SQUEEZED = 16
_DRAWN_WIDTH = 32
_SIDE, _SMALL = 28, 7
_STEPS = (0.25, 0.5, 0.75)
_STEEPNESS = 12.0
# Logits are about ten times as large as codes.
_CALM = 0.25
# Of two classes that the reader can hardly tell apart, one mark shall stand out.
_CLEAR = 2.0
# Weights that move as fast as the others draw marks that are seen soon.
_INK = 5.0


class RobustAutoencoder(nn.Module):
    """Images (N, 1, 28, 28) in [0, 1] and standard normal noise (N, 64) to images (N, 1, 28, 28).

    The output is not clamped, so that the mean squared error keeps its gradient; the exported graph clamps it
    to [0, 1].

    Args:
        noise_std: standard deviation of the Gaussian noise on the latent.
    """

    def __init__(self, noise_std: float = 0.1) -> None:
        super().__init__()
        self.noise_std = noise_std
        self.noise_shape: tuple[int, ...] = (LATENT,)
        wide = 2 * _WIDTH
        self.encoder = nn.Sequential(
            _SoftSteps(),
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * (1 + len(_STEPS)), _WIDTH, 3, padding=1),
            Block(_WIDTH),
            nn.GELU(),
            nn.Conv2d(_WIDTH, wide, 3, stride=2, padding=1),
            Block(wide),
            Block(wide),
            nn.GELU(),
            nn.Conv2d(wide, _SQUEEZED, 1),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(_SQUEEZED * _SMALL**2, LATENT),
        )
        self.reader = nn.Sequential(nn.Linear(LATENT, 128), nn.GELU(), nn.Linear(128, _CLASSES))
        drawn = 2 * _DRAWN_WIDTH
        self.decoder = nn.Sequential(
            nn.Linear(LATENT + _CLASSES, drawn * _SMALL**2),
            nn.Unflatten(1, (drawn, _SMALL, _SMALL)),
            Block(drawn),
            nn.GELU(),
            nn.Conv2d(drawn, 4 * _DRAWN_WIDTH, 1),
            nn.PixelShuffle(2),
            Block(_DRAWN_WIDTH),
            nn.GELU(),
            nn.Conv2d(_DRAWN_WIDTH, 4, 3, padding=1),
            nn.PixelShuffle(2),
        )
        self.marks = nn.Linear(_CLASSES, _SIDE**2, bias=False)
        nn.init.zeros_(self.marks.weight)

    def forward(self, images: Tensor, noise: Tensor) -> Tensor:
        """Unclamped reconstructions (N, 1, 28, 28); noise of zeros makes it deterministic."""
        return self.decode(self.encode(images, noise))

    def encode(self, images: Tensor, noise: Tensor) -> Tensor:
        """Noisy codes (N, 64)."""
        codes: Tensor = self.encoder(images)
        return codes + self.noise_std * noise

    def read(self, codes: Tensor) -> Tensor:
        """Logits (N, 10) of codes (N, 64): what they show."""
        logits: Tensor = self.reader(codes)
        return logits

    def decode(self, codes: Tensor) -> Tensor:
        """Images of codes (N, 64)."""
        return self.draw(codes, self.read(codes))

    def draw(self, codes: Tensor, told: Tensor) -> Tensor:
        """Images of codes (N, 64), told what they show: logits (N, 10)."""
        drawn: Tensor = self.decoder(torch.cat([codes, _CALM * told], dim=1))
        marks: Tensor = self.marks(torch.softmax(_CLEAR * told, dim=1) - 1 / _CLASSES)
        return drawn + _INK * marks.view(-1, 1, _SIDE, _SIDE)

    def draw_noise(self, n: int, device: torch.device) -> Tensor:
        """Standard normal noise (n, 64) from torch's global generator."""
        return torch.randn(n, *self.noise_shape, device=device)


class _SoftSteps(nn.Module):
    """Images (N, 1, H, W) to (N, 4, H, W): the values, and sigmoids of them around each step."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.tensor(_STEPS).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        steps = torch.sigmoid(_STEEPNESS * (images - cast(Tensor, self.steps)))
        return torch.cat([images, steps], dim=1)
