"""One-pixel attack (arXiv 1710.08864): differential evolution over the places and values of a few pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from array_api_compat import array_namespace
from pydantic import Field

from service.attacks.account import Queries, Result
from service.attacks.parameters import at_least
from service.attacks.white_box import Array, BlackBox, lead, like, to_numpy

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

Floats = np.ndarray[Any, np.dtype[np.float64]]
_GENES = 3  # row, column, value


def one_pixel(
    model: BlackBox,
    images: Array,
    labels: Array,
    *,
    pixels: Annotated[int, Field(ge=1, le=50, description="pixels that may change")] = 1,
    population: Annotated[int, Field(ge=5, le=400, description="candidates in a generation")] = 100,
    generations: Annotated[int, Field(ge=1, le=100, description="generations at most")] = 20,
    targeted: bool = False,
    rng: np.random.Generator,
) -> Result:
    """Adversarial images (N, 1, 28, 28) in [0, 1] with at most `pixels` pixels changed; the best try where none was
    found.

    SciPy's differential evolution as in the paper: a child is a sum of one parent and half the difference of two
    others, and replaces its forebear where it does better. One image after the other, each until it is found.

    Departures from the paper: candidates compete by their lead of logits, since the probability of a sure classifier
    is 1 everywhere; 100 candidates in 20 generations by default instead of 400 in 100; the first that fools ends it.

    Raises:
        ValueError: pixels or generations is below 1, or population below 5.
    """
    at_least(1, pixels=pixels, generations=generations)
    at_least(5, population=population)
    xp = array_namespace(images)
    victim = Queries(model, images.shape[0])
    adv_images = xp.asarray(images, copy=True)
    for row in range(images.shape[0]):
        hunt = _Hunt(victim, images, labels, row, targeted)
        if not hunt.ended:
            hunt.run(pixels, population, generations, rng)
        adv_images[row : row + 1] = hunt.best
    return victim.result(adv_images)


class _Hunt:
    """The search for one image. `best`: the candidate of the lowest objective so far."""

    def __init__(self, victim: Queries, images: Array, labels: Array, row: int, targeted: bool) -> None:
        self._victim, self._rows = victim, np.array([row])
        self._image, self._label = images[row : row + 1], labels[row : row + 1]
        self._sign = -1.0 if targeted else 1.0
        self.best: Array = self._image
        self._lowest = np.inf
        self._ask(self._image)

    @property
    def ended(self) -> bool:
        """Whether the victim is fooled."""
        return self._lowest < 0

    def run(self, pixels: int, population: int, generations: int, rng: np.random.Generator) -> None:
        from scipy.optimize import differential_evolution  # noqa: PLC0415  # SciPy is a third of the service's imports, and few attacks need it

        height, width = self._image.shape[2:]
        bounds = [(0, height), (0, width), (0, 1)] * pixels
        upper = np.array([bound[1] for bound in bounds], dtype=np.float64)
        differential_evolution(
            self._objective,
            bounds,
            strategy="rand1bin",
            maxiter=generations,
            init=rng.uniform(size=(population, _GENES * pixels)) * upper,
            mutation=0.5,
            recombination=1.0,
            tol=0,
            rng=rng,
            callback=self._stop,
            polish=False,
            updating="deferred",
            vectorized=True,
        )

    def _stop(self, intermediate_result: OptimizeResult) -> bool:
        return self.ended

    def _objective(self, genes: Floats) -> Floats:
        """The lead (S,) of the label, or of the others over the target, for candidates (3 pixels, S)."""
        if self.ended:
            return np.full(genes.shape[1], np.inf)  # SciPy asks once more before it stops
        xp = array_namespace(self._image)
        height, width = self._image.shape[2:]
        count = genes.shape[1]
        candidates = np.repeat(to_numpy(self._image), count, axis=0)
        for row, column, value in genes.reshape(-1, _GENES, count):
            place = np.minimum(row.astype(int), height - 1), np.minimum(column.astype(int), width - 1)
            candidates[np.arange(count), 0, place[0], place[1]] = np.clip(value, 0, 1)
        return self._ask(xp.asarray(like(candidates, self._image)))

    def _ask(self, candidates: Array) -> Floats:
        logits = to_numpy(self._victim.logits(candidates, self._rows)).astype(np.float64)
        labels = np.repeat(to_numpy(self._label), len(logits))
        objective: Floats = self._sign * lead(logits, labels)
        best = int(objective.argmin())
        if objective[best] < self._lowest:
            self._lowest, self.best = float(objective[best]), candidates[best : best + 1]
        return objective
