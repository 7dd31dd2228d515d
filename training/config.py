"""Training configurations: frozen, saved beside the weights and in the manifest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train: AdamW with its `momentum`, linear warm-up, then cosine to zero."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int = 200
    gradient_norm: float = 1.0
    momentum: float = 0.9


@dataclass(frozen=True)
class ClassifierConfig:
    """One VGG-16: its schedule, regularisation and augmentation.

    `rotation` is in degrees, `translation` in pixels, `scaling` the largest relative change of size;
    `erasing` is the probability that a square of up to 10x10 pixels is set to zero. `polish` is a second, short
    schedule at a low rate, whose images are flipped and shifted by up to a pixel but neither turned nor erased:
    heavy augmentation helps on the way and hurts at the end. It is kept where the validation split likes it better.
    """

    schedule: Schedule
    polish: Schedule | None = None
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
        polish=Schedule(epochs=2, batch_size=128, learning_rate=6e-5, weight_decay=0.05),
        label_smoothing=0.05,
        rotation=4.0,
        translation=2.0,
        scaling=0.05,
        horizontal_flip=True,
        erasing=0.3,
    ),
}


@dataclass(frozen=True)
class Polish:
    """A further, shorter stage of a purifier's training: another mix and loss; words as in `PurifierConfig`."""

    schedule: Schedule
    clean: float
    fgsm: float
    pgd: float
    classifier_weight: float
    agreement_weight: float = 0.0
    classifier_share: float = 0.5


@dataclass(frozen=True)
class PurifierConfig:
    """One purifier: its architecture, the mix of a batch and the loss.

    A batch holds shares of clean images, FGSM images (eps up to `fgsm_eps`, large ones more often; a share
    `least_likely` of them towards the least likely class), PGD images (perturbations scaled by a random factor) and
    images with uniform noise. `attacked_images` caps how many training images have a PGD perturbation.
    The loss is the mean squared error to the unperturbed image, plus, from `classifier_epoch` on and on the first
    `classifier_share` of the batch, `classifier_weight` times the frozen classifier's cross-entropy and
    `agreement_weight` times the divergence (KL) of its answer from its answer to the unperturbed image.
    `gate_weight` times the binary cross-entropy of a gated architecture's judgement of which images are unattacked
    is added throughout. `polish` are the stages that follow, each from the best epoch of the one before.
    """

    architecture: str
    schedule: Schedule
    noise_std: float
    clean: float = 0.2
    fgsm: float = 0.35
    pgd: float = 0.4
    least_likely: float = 0.3
    fgsm_eps: float = 0.7
    attacked_images: int = 25_600
    classifier_weight: float = 0.0
    agreement_weight: float = 0.0
    gate_weight: float = 0.0
    classifier_epoch: int = 2
    classifier_share: float = 0.5
    polish: tuple[Polish, ...] = ()
    seed: int = 0

    def stages(self) -> tuple[PurifierConfig, ...]:
        """This configuration, and what each polish makes of it."""
        later = (replace(self, classifier_epoch=0, polish=(), **vars(polish)) for polish in self.polish)
        return (self, *later)


PURIFIERS = {
    ("mnist", "autoencoder"): PurifierConfig(
        architecture="autoencoder",
        schedule=Schedule(epochs=14, batch_size=128, learning_rate=1e-3, weight_decay=1e-4),
        noise_std=0.1,
        clean=0.2,
        fgsm=0.3,
        pgd=0.45,
        classifier_weight=0.02,
        classifier_epoch=3,
        classifier_share=0.375,
    ),
    ("fashion-mnist", "autoencoder"): PurifierConfig(
        architecture="autoencoder_gated",
        schedule=Schedule(epochs=14, batch_size=128, learning_rate=1e-3, weight_decay=1e-4),
        noise_std=0.1,
        clean=0.25,
        fgsm=0.3,
        pgd=0.4,
        attacked_images=35_840,
        classifier_weight=0.04,
        classifier_epoch=2,
        classifier_share=0.375,
        gate_weight=0.05,
        polish=(
            Polish(
                schedule=Schedule(epochs=4, batch_size=128, learning_rate=7e-4, weight_decay=1e-4, warmup_steps=50),
                clean=0.3,
                fgsm=0.2,
                pgd=0.42,
                classifier_weight=0.03,
                agreement_weight=0.05,
            ),
        ),
    ),
    ("mnist", "autoencoder_paper"): PurifierConfig(
        architecture="autoencoder_paper",
        schedule=Schedule(epochs=10, batch_size=128, learning_rate=1e-3, weight_decay=0.0),
        noise_std=1.0,
        attacked_images=12_800,
    ),
    ("fashion-mnist", "autoencoder_paper"): PurifierConfig(
        architecture="autoencoder_paper",
        schedule=Schedule(epochs=10, batch_size=128, learning_rate=1e-3, weight_decay=0.0),
        noise_std=1.0,
        attacked_images=15_360,
    ),
}


def _of_one_attack(config: PurifierConfig, attack: Literal["fgsm", "pgd"]) -> PurifierConfig:
    def alone(stage: PurifierConfig | Polish) -> dict[str, Any]:
        return {"fgsm": 0.0, "pgd": 0.0, attack: stage.fgsm + stage.pgd}

    polish = tuple(replace(stage, **alone(stage)) for stage in config.polish)
    return replace(config, polish=polish, **alone(config))


# One purifier for each attack, as the paper trains them: an ablation, not shipped.
ONE_ATTACK = {
    (dataset, f"{defense}_{attack}"): _of_one_attack(config, attack)
    for (dataset, defense), config in PURIFIERS.items()
    if defense == "autoencoder"
    for attack in ("fgsm", "pgd")
}
AUTOENCODERS = tuple(dict.fromkeys(defense for _, defense in PURIFIERS))


@dataclass(frozen=True)
class VaeConfig:
    """A variational auto-encoder as a purifier; the words of the mix as in `PurifierConfig`.

    With `attacked_images` it learns from attacked images (of the first `images`), else from clean ones. `kl_weight`
    weighs the divergence of the codes from the standard normal against the reconstruction. `pixel_noise` is up to how
    much every pixel of a clean image, in `share_moved` of them, is moved up or down by chance before it is encoded.
    From `classifier_epoch` on the classifier's cross-entropy, times `classifier_weight`, counts too: on
    `classifier_share` of each batch, drawn as the classes that they are and as any. The epoch that is kept is chosen
    under FGSM of `validation_fgsm_eps`, among others.
    """

    architecture: str
    schedule: Schedule
    noise_std: float = 1.0
    kl_weight: float = 1.0
    pixel_noise: float = 0.0
    share_moved: float = 0.75
    classifier_epoch: int = 0
    classifier_weight: float = 0.0
    classifier_share: float = 0.125
    validation_fgsm_eps: float = 0.6
    attacked_images: int = 0
    images: int | None = None
    clean: float = 0.25
    fgsm: float = 0.35
    pgd: float = 0.3
    least_likely: float = 0.3
    fgsm_eps: float = 0.7
    seed: int = 0


@dataclass(frozen=True)
class GanConfig:
    """Defense-GAN's generator: a variational auto-encoder's decoder first (`start`), then a WGAN-GP's (`schedule`).

    The schedule counts the steps of both players: `critic_steps` of the critic, then one of the generator, whose loss
    is the auto-encoder's bound less, times `game_weight`, the critic's score of what it draws.
    """

    architecture: str
    start: Schedule
    schedule: Schedule
    noise_std: float = 0.5
    kl_weight: float = 1.0
    critic_steps: int = 4
    game_weight: float = 0.01
    gradient_penalty: float = 10.0
    seed: int = 0


@dataclass(frozen=True)
class DistillationConfig:
    """Defensive distillation: a student of the classifier's answers, whose own logits are divided by `temperature`."""

    architecture: str
    schedule: Schedule
    temperature: float = 20.0
    translation: float = 1.0
    seed: int = 0


GENERATIVE: dict[str, VaeConfig | GanConfig] = {
    "puvae": VaeConfig(
        "puvae",
        Schedule(epochs=12, batch_size=128, learning_rate=2e-3, weight_decay=0.0),
        pixel_noise=0.6,
        classifier_epoch=8,
        classifier_weight=0.1,
        validation_fgsm_eps=0.3,
    ),
    "defense_vae": VaeConfig(
        "defense_vae",
        Schedule(epochs=14, batch_size=128, learning_rate=2e-3, weight_decay=0.0),
        kl_weight=0.2,
        attacked_images=2_560,
        images=12_800,
    ),
    "defense_gan": GanConfig(
        "defense_gan",
        start=Schedule(epochs=8, batch_size=128, learning_rate=2e-3, weight_decay=0.0),
        schedule=Schedule(
            epochs=3, batch_size=64, learning_rate=3e-4, weight_decay=0.0, gradient_norm=1e4, momentum=0.5
        ),
    ),
}
DISTILLATION = DistillationConfig(
    "vgg16_half", Schedule(epochs=2, batch_size=128, learning_rate=5e-4, weight_decay=0.02)
)
