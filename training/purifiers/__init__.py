"""Purifier architectures by name, one paper or model a file."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from training.purifiers.autoencoder import Autoencoder
from training.purifiers.defense_gan import DefenseGAN
from training.purifiers.defense_vae import DefenseVAE
from training.purifiers.paper_autoencoder import PaperAutoencoder
from training.purifiers.puvae import PuVAE
from training.purifiers.robust_autoencoder import RobustAutoencoder

ARCHITECTURES: dict[str, Callable[[float], nn.Module]] = {
    "autoencoder": lambda noise_std: Autoencoder(noise_std=noise_std),
    "autoencoder_gated": lambda noise_std: Autoencoder(noise_std=noise_std, gated=True),
    "autoencoder_robust": lambda noise_std: RobustAutoencoder(noise_std=noise_std),
    "autoencoder_paper": lambda noise_std: PaperAutoencoder(noise_std=noise_std),
    "puvae": PuVAE,
    "defense_vae": DefenseVAE,
    "defense_gan": DefenseGAN,
}
