"""What ends long work: its client hangs up, its time is over, or the server ends. Knows no HTTP."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import Timer
from typing import Any, cast

import numpy as np

from service.attacks import Array, BlackBox, Cotangent, WhiteBox
from service.errors import AbandonedError, ServiceError, TimeLimitError
from service.inference import Interruption

# Images that a victim is asked for at once: more take no less time each, and more memory.
_LARGEST_BATCH = 64


class Leash:
    """Held by whoever waits for the work, and felt by the work: between two looks at its victim, and inside of one.

    Args:
        limit_s: seconds that the work may take, its wait for a thread not counted; None for as long as it likes.
    """

    def __init__(self, limit_s: float | None = None) -> None:
        self._limit_s = limit_s
        self._reason: ServiceError | None = None
        self._interruption = Interruption()
        self._when_cut: list[Callable[[], None]] = []

    def cut(self, reason: ServiceError | None = None) -> None:
        """End the work for a reason; by default, nobody waits any more. Called from the event loop."""
        self._end(reason or AbandonedError("the client hung up before its request was answered"))
        for call in self._when_cut:
            call()

    def when_cut(self, call: Callable[[], None]) -> None:
        """Have something called where the leash is cut; at once where it is already."""
        self._when_cut.append(call)
        if self._reason is not None:
            call()

    @contextmanager
    def holding(self) -> Generator[None, None, None]:
        """The block is the work: its time is limited, and the sessions that it runs end where the leash does.

        Raises:
            AbandonedError: nobody waits for the result.
            TimeLimitError: the time is over.
            ServiceError: the reason for which the leash was cut.
        """
        try:
            with self._timed(), self._interruption:
                self.feel()
                yield
        except ServiceError:
            raise
        except Exception:
            self.feel()  # a run that was ended raises an error of ONNX Runtime's
            raise

    def feel(self) -> None:
        """Go on, or not.

        Raises:
            ServiceError: as `holding`.
        """
        if self._reason is not None:
            raise self._reason

    @contextmanager
    def _timed(self) -> Generator[None, None, None]:
        if self._limit_s is None:
            yield
            return
        timer = Timer(self._limit_s, self._expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _end(self, reason: ServiceError) -> None:
        self._reason = self._reason or reason
        self._interruption.interrupt()

    def _expire(self) -> None:
        self._end(
            TimeLimitError(
                f"the attack did not end within {self._limit_s:g} s, which is all that is allowed; ask for less: "
                "fewer steps, restarts, queries or draws"
            )
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
