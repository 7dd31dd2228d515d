"""What holds a long attack back: its client hangs up, or its time is over. Knows no HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from typing import Any, cast

import numpy as np

from service.attacks import Array, BlackBox, Cotangent, WhiteBox
from service.errors import AbandonedError, TimeLimitError

# Images that a victim is asked for at once: more take no less time each, and longer until the leash is felt.
_LARGEST_BATCH = 64


class Leash:
    """Held by whoever waits for the work, and felt by the work between two looks at its victim.

    Args:
        limit_s: seconds that the work may take, from its first look on; None for as long as it likes.
    """

    def __init__(self, limit_s: float | None = None) -> None:
        self._limit_s = limit_s
        self._cut = Event()
        self._started: float | None = None

    def cut(self) -> None:
        """Nobody waits any more."""
        self._cut.set()

    def feel(self) -> None:
        """Go on, or not.

        Raises:
            AbandonedError: nobody waits for the result.
            TimeLimitError: the time is over.
        """
        now = time.monotonic()
        if self._started is None:
            self._started = now
        if self._cut.is_set():
            raise AbandonedError("the client hung up before its request was answered")
        if self._limit_s is not None and now - self._started > self._limit_s:
            raise TimeLimitError(
                f"the attack did not end within {self._limit_s:g} s, which is all that is allowed; ask for less: "
                "fewer steps, restarts, queries or draws"
            )


class Leashed:
    """A victim that feels the leash at each look, and is looked at in batches of bounded size."""

    def __init__(self, model: BlackBox, leash: Leash) -> None:
        self._model = model
        self._leash = leash

    def logits(self, images: Array) -> Array:
        """As the model's."""
        return np.concatenate([self._felt(self._model.logits, images[part]) for part in _parts(images)])

    def loss_gradient(self, images: Array, labels: Array) -> tuple[Array, Array]:
        """As the model's."""
        take = cast(WhiteBox, self._model).loss_gradient
        return _joined([self._felt(take, images[part], labels[part]) for part in _parts(images)])

    def vector_jacobian(self, images: Array, cotangent: Cotangent) -> tuple[Array, Array]:
        """As the model's."""
        take = cast(WhiteBox, self._model).vector_jacobian
        if callable(cotangent):
            # It belongs to the whole batch, and cannot be taken apart.
            self._leash.feel()
            return take(images, cotangent)
        return _joined([self._felt(take, images[part], cotangent[part]) for part in _parts(images)])

    def _felt(self, look: Callable[..., Any], *given: Any) -> Any:
        self._leash.feel()
        return look(*given)


def _parts(images: Array) -> list[slice]:
    return [slice(start, start + _LARGEST_BATCH) for start in range(0, max(len(images), 1), _LARGEST_BATCH)]


def _joined(parts: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    logits, gradients = zip(*parts, strict=True)
    return np.concatenate(logits), np.concatenate(gradients)
