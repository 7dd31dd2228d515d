"""What a white-box attack sees of its victim, and the loss it reads off the logits."""

from __future__ import annotations

from typing import Any, Protocol

from array_api_compat import array_namespace, device

Array = Any


class WhiteBox(Protocol):
    """A classifier or a pipeline whose gradient the attacker can take.

    Implementations must not modify what they are given.
    """

    def logits(self, images: Array) -> Array:
        """Logits (N, K) of images (N, C, H, W)."""

    def loss_gradient(self, images: Array, labels: Array) -> tuple[Array, Array]:
        """Logits (N, K), and the gradient (N, C, H, W) by each image of its own cross-entropy to its label."""


def one_hot(labels: Array, logits: Array) -> Array:
    """Boolean (N, K): True at each image's label."""
    xp = array_namespace(logits)
    classes = xp.arange(logits.shape[1], device=device(logits))
    return labels[:, None] == classes[None, :]


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Cross-entropy (N,) of logits (N, K) to labels (N,), computed stably."""
    xp = array_namespace(logits)
    shifted = logits - xp.max(logits, axis=1, keepdims=True)
    log_total = xp.log(xp.sum(xp.exp(shifted), axis=1))
    chosen = xp.sum(xp.where(one_hot(labels, logits), shifted, xp.zeros_like(shifted)), axis=1)
    return log_total - chosen
