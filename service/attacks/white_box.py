"""What an attack sees of its victim, and the losses that it reads off the logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from array_api_compat import array_namespace, device, to_device

Array = Any
Cotangent = Callable[[Array], Array] | Array


class BlackBox(Protocol):
    """A classifier or a pipeline that the attacker can only ask. Must not modify what it is given."""

    def logits(self, images: Array) -> Array:
        """Logits (N, K) of images (N, C, H, W)."""


class WhiteBox(BlackBox, Protocol):
    """A classifier or a pipeline whose gradient the attacker can take."""

    def loss_gradient(self, images: Array, labels: Array) -> tuple[Array, Array]:
        """Logits (N, K), and the gradient (N, C, H, W) by each image of its own cross-entropy to its label."""

    def vector_jacobian(self, images: Array, cotangent: Cotangent) -> tuple[Array, Array]:
        """Logits (N, K), and the gradient (N, C, H, W) of any loss by each image.

        `cotangent` is the loss's derivative (N, K) by the logits, or the function that derives it from them.
        """


def to_numpy(array: Array) -> np.ndarray[Any, Any]:
    """The same values as a NumPy array on the CPU."""
    return np.asarray(to_device(array, "cpu"))


def like(values: np.ndarray[Any, Any], images: Array) -> Array:
    """NumPy values as float32 of the kind and on the device of `images`."""
    return array_namespace(images).asarray(np.ascontiguousarray(values, dtype=np.float32), device=device(images))


def per_image(values: Array) -> Array:
    """Values (N,) as (N, 1, 1, 1), to multiply images with."""
    return values[:, None, None, None]


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


def best_other(logits: Array, labels: Array) -> Array:
    """The class (N,) of the highest logit beside the label's."""
    xp = array_namespace(logits)
    return xp.argmax(xp.where(one_hot(labels, logits), -xp.inf, logits), axis=1)


def lead(logits: Array, labels: Array) -> Array:
    """The label's logit less the highest other one (N,): above 0 where the answer is the label."""
    xp = array_namespace(logits)
    label = one_hot(labels, logits)
    own = xp.sum(xp.where(label, logits, xp.zeros_like(logits)), axis=1)
    return own - xp.max(xp.where(label, -xp.inf, logits), axis=1)


def lead_cotangent(logits: Array, labels: Array) -> Array:
    """The derivative (N, K) of `lead` by the logits."""
    xp = array_namespace(logits)
    other = one_hot(best_other(logits, labels), logits)
    return xp.astype(one_hot(labels, logits), logits.dtype) - xp.astype(other, logits.dtype)


def fooled(logits: Array, labels: Array, *, targeted: bool) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Where (N,) the answer is another class than the label, or the label itself where that is the target."""
    return to_numpy((array_namespace(logits).argmax(logits, axis=1) == labels) == targeted)
