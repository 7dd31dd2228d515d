"""`python -m training purifier --defense defense_gan`: a generator of a data set's images, a WGAN-GP (1704.00028).

It starts as the decoder of a variational auto-encoder, so that every image has a code near it, and stays one in the
adversarial game that makes its images real ones (VAE/GAN, 1512.09300). From scratch that game takes a hundred times as
many steps, and without the bound it taught the generator to paint an attack's noise too: see models/notes.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from training import metrics
from training.config import GanConfig, Schedule
from training.data import Examples
from training.fitting import BatchLoss, Job, fit
from training.pipeline import Pipeline, freeze
from training.purifiers.codes import Decoder, Encoder
from training.purifiers.defense_gan import LATENT, DefenseGAN
from training.train_purifier import deterministic
from training.train_vae import elbo
from training.weights import round_to_stored_precision

_VALIDATION_IMAGES = 200
# Few, since it is only to choose an epoch.
_VALIDATION_STEPS, _VALIDATION_RESTARTS = 50, 2


class Critic(nn.Module):
    """Images (N, 1, 28, 28) to scores (N,): higher for real ones."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, channels, 5, stride=2, padding=2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, 2 * channels, 5, stride=2, padding=2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * channels, 4 * channels, 5, stride=2, padding=2),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(4 * channels * 16, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """The scores."""
        scores: Tensor = self.layers(images)
        return scores[:, 0]


class _Players(nn.Module):
    """All who train, so that one checkpoint holds them; the encoder gives every image a code."""

    def __init__(self, generator: Decoder) -> None:
        super().__init__()
        self.generator = generator
        self.encoder = Encoder(LATENT)
        self.critic = Critic()


def train_gan(
    train: Examples,
    validation: Examples,
    classifier: nn.Module,
    *,
    config: GanConfig,
    device: torch.device,
    folder: Path,
) -> DefenseGAN:
    """Defense-GAN in eval mode: of the game's epochs the one whose nearest images the classifier names best.

    Raises:
        CheckpointError: see `fit`.
    """
    torch.manual_seed(config.seed)
    module = DefenseGAN(config.noise_std).to(device)
    validate = _reconstruction(validation.first(_VALIDATION_IMAGES), freeze(classifier), module, device)
    players = _Players(module.generator).to(device)
    stages: tuple[tuple[Path, Schedule, Callable[..., BatchLoss]], ...] = (
        (folder / "start", config.start, _likelihood),
        (folder, config.schedule, _game),
    )
    for place, schedule, objective in stages:
        job = Job(
            name=" ".join(folder.parts[-2:]),
            folder=place,
            config=config,
            schedule=schedule,
            examples=len(train),
            select="accuracy",
            seed=config.seed,
        )
        fit(job, players, objective(train, players, config, device), validate)
    round_to_stored_precision(module)
    torch.save(module.state_dict(), folder / "weights.pt")
    return module.eval()


def _likelihood(train: Examples, players: _Players, config: GanConfig, device: torch.device) -> BatchLoss:
    def batch_loss(indices: Tensor, step: int) -> tuple[Tensor, Mapping[str, float]]:
        loss, drawn = _bound(players, train.images[indices].to(device), config)
        return loss, {"bound": loss.item(), "reconstruction": drawn.item()}

    return batch_loss


def _game(train: Examples, players: _Players, config: GanConfig, device: torch.device) -> BatchLoss:
    """The critic's loss in `critic_steps` steps of each round, then once the generator's, which keeps the bound."""
    generator, critic = players.generator, players.critic
    kept = {"critic": math.nan, "generator": math.nan, "bound": math.nan}

    def batch_loss(indices: Tensor, step: int) -> tuple[Tensor, Mapping[str, float]]:
        real = train.images[indices].to(device)
        codes = torch.randn(len(real), LATENT, device=device)
        if step % (config.critic_steps + 1) == config.critic_steps:
            bound, _ = _bound(players, real, config)
            critic.requires_grad_(False)
            loss = -critic(generator(codes)).mean()
            critic.requires_grad_(True)
            kept.update(generator=loss.item(), bound=bound.item())
            return bound + config.game_weight * loss, dict(kept)
        with torch.no_grad():
            drawn = generator(codes)
        loss = critic(drawn).mean() - critic(real).mean()
        loss = loss + config.gradient_penalty * _steepness(critic, real, drawn)
        kept.update(critic=loss.item())
        return loss, dict(kept)

    return batch_loss


def _bound(players: _Players, images: Tensor, config: GanConfig) -> tuple[Tensor, Tensor]:
    mean, log_variance = players.encoder(images)
    codes = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
    return elbo(players.generator.logits(codes), images, mean, log_variance, config.kl_weight)


def _steepness(critic: Critic, real: Tensor, drawn: Tensor) -> Tensor:
    """How far the critic's slope between real and drawn images is from 1, squared (scalar)."""
    shares = torch.rand(len(real), 1, 1, 1, device=real.device)
    between = (real + shares * (drawn - real)).requires_grad_()
    (slopes,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    lengths: Tensor = slopes.flatten(1).norm(dim=1)
    return (lengths - 1).square().mean()


def _reconstruction(
    validation: Examples, classifier: nn.Module, module: DefenseGAN, device: torch.device
) -> Callable[[], Mapping[str, float]]:
    def validate() -> Mapping[str, float]:
        quick = DefenseGAN(module.noise_std, steps=_VALIDATION_STEPS, restarts=_VALIDATION_RESTARTS).to(device)
        quick.generator = module.generator
        logits = deterministic(Pipeline(quick, classifier), quick)
        found = metrics.predict(lambda batch: logits(batch.to(device)), validation.images, batch_size=50)
        with torch.no_grad():
            images = validation.images[:50].to(device)
            noise = torch.zeros(len(images), *quick.noise_shape, device=device)
            error = (quick(images, noise) - images).square().mean().item()
        return {"accuracy": metrics.accuracy(found, validation.labels), "squared_error": error}

    return validate
