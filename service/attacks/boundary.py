"""The boundary between what fools a victim and what does not, for one image, found by its decisions alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from service.attacks.account import Queries
from service.attacks.norms import BallNorm
from service.attacks.white_box import Array, fooled, like, to_numpy

Floats = np.ndarray[Any, np.dtype[np.float64]]
_TRIES = 20
_BEYOND = 1.002


class Boundary:
    """One image (1, C, H, W), its label, and a purse of queries. Pixels are NumPy float64 (C, H, W) in here.

    `best`: the nearest image in `norm` that fools, None while there is none.
    """

    def __init__(
        self, victim: Queries, images: Array, labels: Array, row: int, *, norm: BallNorm, max_queries: int
    ) -> None:
        self._victim, self._rows, self._like = victim, np.array([row]), images
        self._label = labels[row : row + 1]
        self.image: Floats = to_numpy(images[row]).astype(np.float64)
        self.norm = norm
        self.left = max_queries - 1  # one is kept to settle
        self.best: Floats | None = None
        self._nearest = np.inf

    def fools(self, candidates: Floats) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Where (S,) the victim is fooled by candidates (S, C, H, W); by none where the purse cannot pay them."""
        if len(candidates) > self.left:
            self.left = 0
            return np.zeros(len(candidates), dtype=bool)
        self.left -= len(candidates)
        # Rounded as the victim sees them, so that what is kept is what was judged.
        candidates = candidates.astype(np.float32).astype(np.float64)
        logits = self._victim.logits(like(candidates, self._like), self._rows)
        hits = fooled(logits, self._label, targeted=False)
        for candidate in candidates[hits]:
            if (distance := self.distance(candidate)) < self._nearest:
                self.best, self._nearest = candidate, distance
        return hits

    def distance(self, candidate: Floats) -> float:
        """From the image, in `norm`."""
        difference = np.abs(candidate - self.image)
        return float(difference.max() if self.norm == "linf" else np.sqrt((difference**2).sum()))

    def start(self, rng: np.random.Generator) -> Floats | None:
        """An image that fools: the image itself, noise, the negative, black or white; None where none of them does."""
        if self.fools(self.image[None])[0]:
            return self.image
        tries = [*rng.uniform(size=(_TRIES, *self.image.shape)), 1 - self.image]
        tries += [np.zeros_like(self.image), np.ones_like(self.image)]
        tries += list((rng.uniform(size=(_TRIES, *self.image.shape)) > 0.5).astype(np.float64))
        return next((candidate for candidate in tries if self.fools(candidate[None])[0]), None)

    def approach(self, outside: Floats, tolerance: float) -> Floats:
        """A point that fools, at most `tolerance` (as a share of the way) beyond the boundary.

        Bisects the way from the image to `outside`, which fools: in L2 along the line, in L-inf by clipping to
        ever smaller cubes.
        """
        low, high = 0.0, 1.0
        found = outside
        while high - low > tolerance and self.left:
            middle = (low + high) / 2
            candidate = self._between(outside, middle)
            if self.fools(candidate[None])[0]:
                high, found = middle, candidate
            else:
                low = middle
        return found

    def settle(self) -> Floats | None:
        """The best image, moved a little beyond the boundary, where another batch's rounding does not undo it."""
        if self.best is not None and self._nearest > 0:
            beyond = np.clip(self.image + _BEYOND * (self.best - self.image), 0.0, 1.0)
            self.left = 1
            self._nearest = np.inf
            if not self.fools(beyond[None])[0]:
                self._nearest = self.distance(self.best)
        return self.best

    def _between(self, outside: Floats, share: float) -> Floats:
        if self.norm == "l2":
            return self.image + share * (outside - self.image)
        reach = share * self.distance(outside)
        return np.clip(outside, self.image - reach, self.image + reach)
