"""Square attack (arXiv 1912.00049): random search with squares, by the victim's logits alone."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from array_api_compat import array_namespace
from pydantic import Field

from service.attacks.account import Queries, Result, Rows
from service.attacks.norms import BallNorm
from service.attacks.parameters import Eps, MaxQueries, at_least
from service.attacks.white_box import Array, BlackBox, lead, like, to_numpy

Floats = np.ndarray[Any, np.dtype[np.float64]]
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10,000 queries
_TILES = 5


def square(
    model: BlackBox,
    images: Array,
    labels: Array,
    *,
    eps: Eps,
    max_queries: MaxQueries = 1000,
    p_init: Annotated[float, Field(gt=0, le=1, description="share of the pixels in the first squares")] = 0.8,
    targeted: bool = False,
    norm: BallNorm = "linf",
    rng: np.random.Generator,
) -> Result:
    """Adversarial images (N, 1, 28, 28): in [0, 1] and within eps of `images` in `norm`.

    Starts from stripes (L2: tiles) of full strength, redraws ever smaller squares, and keeps what lowers the label's
    lead of logits, or raises the target's. An image is done where it fools the victim.

    Raises:
        ValueError: eps or p_init is negative or not finite, or max_queries is below 1.
    """
    at_least(0.0, eps=eps, p_init=p_init)
    at_least(1, max_queries=max_queries)
    victim = Queries(model, images.shape[0])
    sign = -1.0 if targeted else 1.0
    originals = to_numpy(images).astype(np.float64)
    draw = _Stripes(eps, rng) if norm == "linf" else _Tiles(eps, rng)

    def objective(perturbations: Floats, rows: Rows) -> Floats:
        adv_images = like(_clipped(perturbations, originals[rows]), images)
        return sign * to_numpy(lead(victim.logits(adv_images, rows), labels[rows])).astype(np.float64)

    rows = np.arange(images.shape[0])
    best, lowest = np.zeros_like(originals), objective(np.zeros_like(originals), rows)
    rows = rows[lowest >= 0]
    for query in range(1, max_queries):
        if not rows.size:
            break
        size = _side(p_init, query - 1, max_queries, originals[0].size, originals.shape[-1])
        start = query == 1
        candidates = np.stack([draw.start(best[row]) if start else draw.change(best[row], size) for row in rows])
        # What clipping takes is free again for the next change.
        candidates = _clipped(candidates, originals[rows]) - originals[rows]
        found = objective(candidates, rows)
        better = (found < lowest[rows]) | start
        best[rows[better]], lowest[rows[better]] = candidates[better], found[better]
        rows = rows[lowest[rows] >= 0]
    xp = array_namespace(images)
    return victim.result(xp.astype(like(_clipped(best, originals), images), images.dtype))


def _clipped(perturbations: Floats, originals: Floats) -> Floats:
    return np.clip(originals + perturbations, 0.0, 1.0)


def _side(p_init: float, done: int, max_queries: int, pixels: int, width: int) -> int:
    """The side of the next square: its share of the pixels halves as the queries run out."""
    share = p_init / 2 ** sum(done * 10_000 / max_queries > mark for mark in _HALVINGS)
    return int(np.clip(round((share * pixels) ** 0.5), 1, width - 1))


class _Stripes:
    """Perturbations of +eps or -eps in each pixel."""

    def __init__(self, eps: float, rng: np.random.Generator) -> None:
        self._eps, self._rng = eps, rng

    def start(self, perturbation: Floats) -> Floats:
        """Columns of one sign."""
        channels, _, width = perturbation.shape
        return np.broadcast_to(self._signs((channels, 1, width)), perturbation.shape).copy()

    def change(self, perturbation: Floats, size: int) -> Floats:
        """One square set to one sign per channel."""
        changed = perturbation.copy()
        changed[_window(perturbation, size, self._rng)] = self._signs((len(perturbation), 1, 1))
        return changed

    def _signs(self, shape: tuple[int, ...]) -> Floats:
        return self._eps * self._rng.choice([-1.0, 1.0], shape)


class _Tiles:
    """Perturbations of length eps, made of bumps: high in the middle of a square, lower with each ring around it."""

    def __init__(self, eps: float, rng: np.random.Generator) -> None:
        self._eps, self._rng = eps, rng

    def start(self, perturbation: Floats) -> Floats:
        """Bumps of random signs, side by side."""
        channels, height, width = perturbation.shape
        side = height // _TILES
        start = np.zeros_like(perturbation)
        for top in range(0, height - side + 1, side):
            for left in range(0, width - side + 1, side):
                start[:, top : top + side, left : left + side] = self._signs(channels) * self._bump(side)
        return start * (self._eps / _size(start))

    def change(self, perturbation: Floats, size: int) -> Floats:
        """The strength of one square moved into another one, which takes a new bump on top of what it has."""
        side = max(size + (size % 2 == 0), 3)
        here, there = (_window(perturbation, min(side, perturbation.shape[-1] - 1), self._rng) for _ in range(2))
        changed = perturbation.copy()
        changed[there] = changed[here] = 0.0
        # What the two squares had, and what clipping left unused.
        free = np.sqrt(max(self._eps**2 - _size(changed) ** 2, 0.0))
        bump = self._signs(len(perturbation)) * self._bump(perturbation[here].shape[-1])
        blended = bump + perturbation[here] / max(_size(perturbation[here]), 1e-12)
        changed[here] = blended * (free / max(_size(blended), 1e-12))
        return changed * (self._eps / max(_size(changed), 1e-12))

    def _signs(self, channels: int) -> Floats:
        return self._rng.choice([-1.0, 1.0], (channels, 1, 1))

    def _bump(self, side: int) -> Floats:
        """Two bumps of opposite signs, one above the other or side by side, of length 1 together."""
        upper = side // 2
        both = np.concatenate([_rings(upper, side), -_rings(side - upper, side)])
        both /= _size(both)
        return both if self._rng.random() < 0.5 else both.T


def _rings(height: int, width: int) -> Floats:
    """Of length 1; the ring at distance d from the middle holds the sum of 1/k^2 from k = d + 1 outwards."""
    rows, columns = np.abs(np.arange(height) - height // 2), np.abs(np.arange(width) - width // 2)
    distance = np.maximum(rows[:, None], columns)
    outwards = np.cumsum((1.0 / np.arange(1, distance.max() + 2) ** 2)[::-1])[::-1]
    rings: Floats = outwards[distance]
    return rings / _size(rings)


def _window(perturbation: Floats, side: int, rng: np.random.Generator) -> tuple[slice, slice, slice]:
    top, left = (int(rng.integers(0, extent - side + 1)) for extent in perturbation.shape[1:])
    return slice(None), slice(top, top + side), slice(left, left + side)


def _size(values: Floats) -> float:
    return float(np.sqrt((values**2).sum()))
