"""How the purifiers that an attacker may know are trained: frozen, saved beside the weights and in the manifest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from training.config import Schedule


@dataclass(frozen=True)
class ReadingConfig:
    """A stage of a robust purifier's training in which the attack goes through the reader of its codes.

    PGD of `attack_steps`, each of `step_size` times eps, within an eps that rises to the whole over the first `ramp` of
    the schedule. The share `patterned` of the walks starts in a corner of the ball, from rectangles of one sign each,
    where an attack that looks at no gradient finds what a random start misses; the rest from a random point. The share
    `clean` of a batch is not attacked. Augmentation as in `ClassifierConfig`.
    """

    schedule: Schedule
    attack_steps: int
    step_size: float
    patterned: float = 0.0
    ramp: float = 0.0
    clean: float = 0.25
    rotation: float = 0.0
    translation: float = 0.0
    scaling: float = 0.0
    horizontal_flip: bool = False
    erasing: float = 0.0


@dataclass(frozen=True)
class DrawingConfig:
    """The last stage of a robust purifier's training, in which the decoder learns to be read as the reader reads.

    Of a batch, `through_classifier` is walked by PGD of `attack_steps` through purifier and frozen classifier, the
    share `clean` is not attacked, and the rest is walked as in the stage before, whose augmentation it shares. The loss
    is the divergence (KL) of the classifier's answers to the purified images from the reader's, whose logits count
    `sharpness` times, so that both change sides at the same place and the classifier more steeply; and `pixel_weight`
    times the mean squared distance of the purified images from the unattacked ones. The divergence is also taken of
    further images, `mistold` for each in the batch, drawn from one image's code and told what another one shows.
    """

    schedule: Schedule
    attack_steps: int = 3
    mistold: float = 0.5
    through_classifier: float = 0.25
    clean: float = 0.25
    sharpness: float = 2.5
    pixel_weight: float = 5.0


Stage = TypeVar("Stage", ReadingConfig, DrawingConfig)


@dataclass(frozen=True)
class RobustConfig:
    """A purifier trained against an attacker who knows it (arXiv 1706.06083).

    In the stages of `readings`, one after another, most of a batch is walked up the cross-entropy of a small reader of
    the purifier's codes. The loss is that cross-entropy, and `pixel_weight` times the mean squared distance of the
    purified images from the unattacked ones. `drawing` follows, with encoder and reader frozen.
    """

    architecture: str
    readings: tuple[ReadingConfig, ...]
    drawing: DrawingConfig | None
    eps: float
    noise_std: float = 0.1
    pixel_weight: float = 5.0
    seed: int = 0

    def shortened(self, epochs: int) -> RobustConfig:
        """This configuration with so many epochs of each stage."""
        drawing = self.drawing and _of_epochs(self.drawing, epochs)
        return replace(self, readings=tuple(_of_epochs(stage, epochs) for stage in self.readings), drawing=drawing)


def _of_epochs(stage: Stage, epochs: int) -> Stage:
    return replace(stage, schedule=replace(stage.schedule, epochs=epochs))


ROBUST_DEFENSE = "autoencoder_robust"
_FIRST = Schedule(epochs=15, batch_size=128, learning_rate=2e-3, weight_decay=1e-4, warmup_steps=100)
_MNIST = RobustConfig(
    architecture="autoencoder_robust",
    readings=(
        ReadingConfig(_FIRST, attack_steps=8, step_size=2.5 / 8, ramp=0.3),
        ReadingConfig(
            replace(_FIRST, epochs=6),
            attack_steps=16,
            step_size=0.15,
            patterned=0.5,
            clean=0.1,
            rotation=12.0,
            translation=2.0,
            scaling=0.1,
        ),
    ),
    drawing=DrawingConfig(
        Schedule(epochs=2, batch_size=48, learning_rate=2e-3, weight_decay=1e-4, warmup_steps=50),
    ),
    eps=0.3,
)
ROBUST = {
    ("mnist", ROBUST_DEFENSE): _MNIST,
    ("fashion-mnist", ROBUST_DEFENSE): replace(
        _MNIST,
        readings=(
            ReadingConfig(
                replace(_FIRST, epochs=21), attack_steps=5, step_size=2.5 / 5, ramp=0.3, horizontal_flip=True
            ),
            ReadingConfig(
                replace(_FIRST, epochs=8),
                attack_steps=10,
                step_size=0.25,
                patterned=0.5,
                clean=0.1,
                horizontal_flip=True,
            ),
        ),
        eps=0.1,
    ),
}
