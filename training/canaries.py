"""Two nets that tell whether the harness works: a defence that only hides its gradient, and one that truly resists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from service.attacks import WhiteBox, pgd
from training.crafting import Array
from training.data import Examples
from training.pipeline import Pipeline, TorchWhiteBox, freeze
from training.protocols import HEADLINE_PGD_EPS, PGD_STEPS
from training.white_boxes import IdentityWhiteBox, PipelineWhiteBox, Victim, classifier

LEVELS = 16
ROBUST_EPS = 0.1
_TRAINING_IMAGES = 10_000
_EPOCHS = 2
_BATCH = 100
_STEPS = 5


class Quantizer(nn.Module):
    """A fake purifier: rounding to 16 levels of grey removes next to nothing, and its gradient is zero everywhere."""

    def forward(self, images: Tensor, noise: Tensor) -> Tensor:
        """Images (N, 1, 28, 28) on 16 levels; the noise is not looked at."""
        return torch.round(images * (LEVELS - 1)) / (LEVELS - 1)


class SmallNet(nn.Module):
    """Images (N, 1, 28, 28) to logits (N, 10), small enough to be trained adversarially in a minute."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 4, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(16, 32, 4, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * 7 * 7, 100), nn.ReLU(), nn.Linear(100, 10),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 10)."""
        return cast(Tensor, self.layers(images))


def attack_fake_defense(victim: Victim, images: Array, labels: Array, start: int) -> tuple[int, int]:
    """How many images stand behind the quantizer under PGD by its exact gradient, and by BPDA-identity."""
    fake = freeze(Pipeline(Quantizer(), classifier(victim)))
    assert isinstance(fake, Pipeline)

    def no_noise(n: int) -> Tensor:
        return torch.empty(n, 0)

    exact, identity = PipelineWhiteBox(fake, no_noise), IdentityWhiteBox(fake, no_noise)
    device = torch.device(victim.device)
    return _standing(exact, images, labels, start, HEADLINE_PGD_EPS, device), _standing(
        identity, images, labels, start, HEADLINE_PGD_EPS, device
    )


def attack_robust_net(net: SmallNet, images: Array, labels: Array, start: int) -> tuple[int, int]:
    """How many images the net names rightly clean, and under PGD at eps .1."""
    model = TorchWhiteBox(net)
    right = (model.logits(torch.from_numpy(images)).argmax(1).numpy() == labels).sum()
    return int(right), _standing(model, images, labels, start, ROBUST_EPS, torch.device("cpu"))


def robust_net(path: Path, train: Callable[[], Examples]) -> SmallNet:
    """The net that is kept at `path`, frozen; trained first where there is none."""
    if not path.exists():
        train_robust_net(train(), path)
    net = SmallNet()
    net.load_state_dict(torch.load(path, weights_only=True))
    return cast(SmallNet, freeze(net))


def train_robust_net(train: Examples, path: Path) -> None:
    """Adversarial training (arXiv 1706.06083) at eps .1 on the first training images, kept at `path`."""
    torch.manual_seed(0)
    net = SmallNet()
    rng = np.random.default_rng(0)
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    chosen = train.first(_TRAINING_IMAGES)
    starts = [start for _ in range(_EPOCHS) for start in range(0, len(chosen), _BATCH)]
    for start in tqdm(starts, desc="adversarially trained canary", leave=False, mininterval=2.0):
        images, labels = chosen.images[start : start + _BATCH], chosen.labels[start : start + _BATCH]
        adv_images = pgd(TorchWhiteBox(net), images, labels, eps=ROBUST_EPS, steps=_STEPS, rng=rng).adv_images
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(adv_images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(net.state_dict(), path)


def _standing(model: WhiteBox, images: Array, labels: Array, start: int, eps: float, device: torch.device) -> int:
    batch, truth = torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)
    rng = np.random.default_rng([0, start])
    adv_images = pgd(model, batch, truth, eps=eps, steps=PGD_STEPS, rng=rng).adv_images
    return int((model.logits(adv_images).argmax(1) == truth).sum())
