"""What an attack hands back, and the books it keeps: how often it asked the victim, image by image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from service.attacks.white_box import Array, BlackBox, Cotangent, WhiteBox

Counts = np.ndarray[Any, np.dtype[np.int64]]
Rows = np.ndarray[Any, np.dtype[np.int64]] | slice
_ALL = slice(None)


@dataclass(frozen=True)
class Result:
    """Adversarial images (N, 1, 28, 28) in [0, 1], and what each cost.

    `queries`: images that the victim was asked to classify. `gradients`: gradients that it gave, each of which brings
    its logits with it. Where an attack failed, its image is the best that it had, or the untouched one.
    """

    adv_images: Array
    queries: Counts
    gradients: Counts


class Queries:
    """A victim that is only asked, with the bill of each of its N images."""

    def __init__(self, model: BlackBox, n: int) -> None:
        self._asked = model
        self._queries = np.zeros(n, np.int64)
        self._gradients = np.zeros(n, np.int64)

    def logits(self, images: Array, rows: Rows = _ALL) -> Array:
        """Logits of images that belong to `rows`; a multiple of them where each is asked for several times."""
        _charge(self._queries, images, rows)
        return self._asked.logits(images)

    def result(self, adv_images: Array) -> Result:
        """The images with the bill so far."""
        return Result(adv_images, self._queries.copy(), self._gradients.copy())


class Gradients(Queries):
    """A victim whose gradient is taken, with the bill of each of its N images."""

    def __init__(self, model: WhiteBox, n: int) -> None:
        super().__init__(model, n)
        self._model = model

    def loss_gradient(self, images: Array, labels: Array, rows: Rows = _ALL) -> tuple[Array, Array]:
        """As the model's."""
        _charge(self._gradients, images, rows)
        return self._model.loss_gradient(images, labels)

    def vector_jacobian(self, images: Array, cotangent: Cotangent, rows: Rows = _ALL) -> tuple[Array, Array]:
        """As the model's."""
        _charge(self._gradients, images, rows)
        return self._model.vector_jacobian(images, cotangent)


def _charge(counts: Counts, images: Array, rows: Rows) -> None:
    counts[rows] += images.shape[0] // counts[rows].size
