"""Purifier architectures by name, one paper or model a file."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from training.purifiers.autoencoder import Autoencoder
from training.purifiers.defense_gan import DefenseGAN
from training.purifiers.defense_vae import DefenseVAE
from training.purifiers.paper_autoencoder import PaperAutoencoder
from training.purifiers.puvae import PuVAE

ARCHITECTURES: dict[str, Callable[[float], nn.Module]] = {
    "autoencoder": lambda noise_std: Autoencoder(noise_std=noise_std),
    "autoencoder_gated": lambda noise_std: Autoencoder(noise_std=noise_std, gated=True),
    # Narrower, for it is trained against attacks that are made on itself; and of a pixel it sees only what changes
    # slowly with it, for what oscillates hands the attacker a lever.
    "autoencoder_robust": lambda noise_std: Autoencoder(width=32, depth=2, octaves=1, noise_std=noise_std),
    "autoencoder_paper": lambda noise_std: PaperAutoencoder(noise_std=noise_std),
    "puvae": PuVAE,
    "defense_vae": DefenseVAE,
    "defense_gan": DefenseGAN,
}
