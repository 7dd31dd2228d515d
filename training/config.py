"""Training configurations: frozen, saved beside the weights and in the manifest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train: AdamW, linear warm-up, then cosine to zero."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int = 200
    gradient_norm: float = 1.0


@dataclass(frozen=True)
class ClassifierConfig:
    """One VGG-16: its schedule, regularisation and augmentation.

    `rotation` is in degrees, `translation` in pixels, `scaling` the largest relative change of size;
    `erasing` is the probability that a square of up to 10x10 pixels is set to zero.
    """

    schedule: Schedule
    dropout: float = 0.5
    label_smoothing: float = 0.0
    rotation: float = 0.0
    translation: float = 0.0
    scaling: float = 0.0
    horizontal_flip: bool = False
    erasing: float = 0.0
    seed: int = 0


CLASSIFIERS = {
    "mnist": ClassifierConfig(
        schedule=Schedule(epochs=4, batch_size=128, learning_rate=2e-4, weight_decay=0.02),
        rotation=12.0,
        translation=2.0,
        scaling=0.1,
    ),
    "fashion-mnist": ClassifierConfig(
        schedule=Schedule(epochs=8, batch_size=128, learning_rate=2e-4, weight_decay=0.05),
        label_smoothing=0.05,
        rotation=4.0,
        translation=2.0,
        scaling=0.05,
        horizontal_flip=True,
        erasing=0.3,
    ),
}
