"""How the purifiers that an attacker may know are trained: frozen, saved beside the weights and in the manifest."""

from __future__ import annotations

from dataclasses import dataclass, replace

from training.config import Schedule


@dataclass(frozen=True)
class DrawingConfig:
    """The second stage of a robust purifier's training, in which the decoder learns to be read as the reader reads.

    Of a batch, `through_classifier` is walked by PGD of `attack_steps` through purifier and frozen classifier, the
    share `clean` is not attacked, and the rest is walked as in the first stage. The loss is the divergence (KL) of the
    classifier's answers to the purified images from the reader's, and `pixel_weight` times the mean squared distance
    of the purified images from the unattacked ones.
    """

    schedule: Schedule
    attack_steps: int = 3
    through_classifier: float = 0.25
    clean: float = 0.25
    pixel_weight: float = 5.0


@dataclass(frozen=True)
class RobustConfig:
    """A purifier trained against an attacker who knows it (arXiv 1706.06083).

    All but the share `clean` of a batch are walked by PGD of `attack_steps`, within an eps that rises to `eps` over the
    first `ramp` of the schedule. It walks up the cross-entropy of a small reader of the purifier's codes. The loss is
    that cross-entropy, and `pixel_weight` times the mean squared distance of the purified images from the unattacked
    ones. Where `mirrored`, half of the images are shown mirrored. `drawing` follows, with encoder and reader frozen.
    """

    architecture: str
    schedule: Schedule
    drawing: DrawingConfig | None
    eps: float
    attack_steps: int
    mirrored: bool
    noise_std: float = 0.1
    clean: float = 0.25
    ramp: float = 0.3
    pixel_weight: float = 5.0
    seed: int = 0


ROBUST_DEFENSE = "autoencoder_robust"
_MNIST = RobustConfig(
    architecture="autoencoder_robust",
    schedule=Schedule(epochs=15, batch_size=128, learning_rate=2e-3, weight_decay=1e-4, warmup_steps=100),
    drawing=DrawingConfig(
        Schedule(epochs=1, batch_size=64, learning_rate=1e-3, weight_decay=1e-4, warmup_steps=50),
    ),
    eps=0.3,
    attack_steps=8,
    mirrored=False,
)
ROBUST = {
    ("mnist", ROBUST_DEFENSE): _MNIST,
    ("fashion-mnist", ROBUST_DEFENSE): replace(
        _MNIST, schedule=replace(_MNIST.schedule, epochs=21), eps=0.1, attack_steps=5, mirrored=True
    ),
}
