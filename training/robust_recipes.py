"""How the purifiers that an attacker may know are trained: frozen, saved beside the weights and in the manifest."""

from __future__ import annotations

from dataclasses import dataclass, replace

from training.config import Schedule


@dataclass(frozen=True)
class RobustPolish:
    """A second stage of a robust purifier's training; words as in `RobustConfig`."""

    schedule: Schedule
    attack_steps: int
    classifier_share: float


@dataclass(frozen=True)
class RobustConfig:
    """A purifier trained against an attacker who knows it (arXiv 1706.06083).

    All but the share `clean` of a batch are walked by PGD of `attack_steps`, within an eps that rises to `eps` over the
    first `ramp` of the schedule. It walks up the cross-entropy of a small reader of the purifier's codes. The loss is
    that cross-entropy, `pixel_weight` times the mean squared distance of the purified images from the unattacked ones,
    and on `classifier_share` of the batch `classifier_weight` times the frozen classifier's cross-entropy and
    `agreement_weight` times the divergence (KL) of the reader's answers from the classifier's. `polish` goes on from
    the best epoch, with longer walks at the whole of eps.
    """

    architecture: str
    schedule: Schedule
    polish: RobustPolish
    eps: float
    noise_std: float = 0.1
    attack_steps: int = 4
    clean: float = 0.25
    ramp: float = 0.3
    pixel_weight: float = 5.0
    classifier_weight: float = 0.5
    agreement_weight: float = 0.2
    classifier_share: float = 0.125
    seed: int = 0

    def polished(self) -> RobustConfig:
        """This configuration as its polish has it."""
        return replace(self, ramp=0.0, **vars(self.polish))


ROBUST_DEFENSE = "autoencoder_robust"
ROBUST = {
    (dataset, ROBUST_DEFENSE): RobustConfig(
        architecture="autoencoder_robust",
        schedule=Schedule(epochs=7, batch_size=128, learning_rate=2e-3, weight_decay=1e-4, warmup_steps=100),
        polish=RobustPolish(
            Schedule(epochs=polish_epochs, batch_size=128, learning_rate=1e-3, weight_decay=1e-4, warmup_steps=50),
            attack_steps=8,
            classifier_share=0.1875,
        ),
        eps=eps,
    )
    for dataset, eps, polish_epochs in (("mnist", 0.3, 2), ("fashion-mnist", 0.1, 1))
}
