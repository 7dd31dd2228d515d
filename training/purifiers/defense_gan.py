"""Defense-GAN (arXiv 1805.06605): the image that a generator comes nearest to an attacked one with.

From several starts, gradient descent on the code looks for the nearest image; the best start's image is the purified
one. Knows no attack and no classifier.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from training.purifiers.codes import Decoder

# More numbers, and the generator paints the attack too: see models/notes.md.
LATENT = 16
STEPS = 200
RESTARTS = 10
STEP_SIZE = 10.0
MOMENTUM = 0.7
_PIXELS = 28 * 28


class DefenseGAN(nn.Module):
    """Images (N, 1, 28, 28) in [0, 1] and standard normal noise (N, restarts, 16) to images within (0, 1).

    Its gradient by the images is taken as the identity's (BPDA, arXiv 1802.00420): nobody goes back through two
    hundred steps. Departure from the paper: the starts are fixed draws, each moved by the noise, so that noise of
    zeros makes it deterministic.

    Args:
        noise_std: standard deviation of what the noise moves the starts by.
        steps, restarts: L and R of the paper, whose values are the defaults.
    """

    starts: Tensor

    def __init__(self, noise_std: float = 0.5, *, steps: int = STEPS, restarts: int = RESTARTS) -> None:
        super().__init__()
        self.noise_std = noise_std
        self.steps = steps
        self.restarts = restarts
        self.noise_shape: tuple[int, ...] = (restarts, LATENT)
        self.generator = Decoder(LATENT)
        draws = torch.randn(1, restarts, LATENT, generator=torch.Generator().manual_seed(0))
        self.register_buffer("starts", draws)

    def shortened(self, steps: int) -> DefenseGAN:
        """The same with fewer steps."""
        short = DefenseGAN(self.noise_std, steps=steps, restarts=self.restarts)
        short.load_state_dict(self.state_dict())
        return short.eval().requires_grad_(False)

    def forward(self, images: Tensor, noise: Tensor) -> Tensor:
        """The generated image nearest to each."""
        codes, velocity = self.begin(noise)
        for _ in range(self.steps):
            codes, velocity = self.step(codes, velocity, images.detach())
        return images + (self.choose(codes, images) - images).detach()

    def begin(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The codes (N, restarts, 16) to start from, and their velocity, none."""
        codes = self.starts + self.noise_std * noise
        return codes, torch.zeros_like(codes)

    def step(self, codes: Tensor, velocity: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """Codes and their velocity after one step down the mean squared error to the images."""
        with torch.enable_grad():
            watched = codes.detach().requires_grad_()
            error = (self._draw(watched) - images).square().sum() / _PIXELS
            (gradient,) = torch.autograd.grad(error, watched)
        velocity = MOMENTUM * velocity + gradient
        return codes.detach() - STEP_SIZE * velocity, velocity

    def choose(self, codes: Tensor, images: Tensor) -> Tensor:
        """Of each image's restarts the image (N, 1, 28, 28) at the smallest distance."""
        found = self._draw(codes)
        nearest = (found - images).square().sum(dim=(2, 3)).argmin(dim=1, keepdim=True)
        chosen = (nearest == torch.arange(self.restarts, device=images.device)).to(found.dtype)
        return (found * chosen[:, :, None, None]).sum(dim=1, keepdim=True)

    def _draw(self, codes: Tensor) -> Tensor:
        """One image of each code: (N, restarts, 28, 28)."""
        return cast(Tensor, self.generator(codes.flatten(0, 1))).reshape(-1, self.restarts, 28, 28)

    def draw_noise(self, n: int, device: torch.device) -> Tensor:
        """Standard normal noise (n, restarts, 16) from torch's global generator."""
        return torch.randn(n, *self.noise_shape, device=device)
