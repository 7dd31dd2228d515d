"""GeoDA (arXiv 2003.06468): takes the boundary for a plane, and goes to it at a right angle, by decisions alone."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from array_api_compat import array_namespace
from pydantic import Field

from service.attacks.account import Queries, Result
from service.attacks.boundary import Boundary
from service.attacks.norms import BallNorm
from service.attacks.parameters import MaxQueries, at_least
from service.attacks.white_box import Array, BlackBox, like

Floats = np.ndarray[Any, np.dtype[np.float64]]
_TOLERANCE = 1e-5
_GROWTH = 0.6 ** (-2 / 3)  # the paper's optimal ratio of queries from one round to the next
_LADDER = np.geomspace(0.125, 8, 13)  # distances along the normal, in units of the last one
_BISECTION = 17 + len(_LADDER)  # queries of a round beside those of the normal


def geoda(
    model: BlackBox,
    images: Array,
    labels: Array,
    *,
    max_queries: MaxQueries = 1000,
    rounds: Annotated[int, Field(ge=1, le=20, description="estimates of the normal")] = 4,
    frequencies: Annotated[
        int, Field(ge=2, le=28, description="lowest frequencies a side, of which the probing noise is made")
    ] = 14,
    sigma: Annotated[float, Field(gt=0, le=1, description="strength of the probing noise a frequency")] = 0.002,
    norm: BallNorm = "l2",
    rng: np.random.Generator,
) -> Result:
    """Adversarial images (N, 1, 28, 28) in [0, 1] at a small distance in `norm`; the untouched image where none was
    found.

    Untargeted: away from `labels`. Each round estimates the boundary's normal by noise of low frequencies around the
    last point on it, and finds the boundary from the image along that normal. One image after the other.

    Departure from the paper: starts from noise, the negative, black or white, whatever fools first.

    Raises:
        ValueError: max_queries or rounds is below 1, frequencies below 2, or sigma is negative or not finite.
    """
    at_least(1, max_queries=max_queries, rounds=rounds)
    at_least(2, frequencies=frequencies)
    at_least(0.0, sigma=sigma)
    xp = array_namespace(images)
    victim = Queries(model, images.shape[0])
    adv_images = xp.asarray(images, copy=True)
    for row in range(images.shape[0]):
        boundary = Boundary(victim, images, labels, row, norm=norm, max_queries=max_queries)
        _project(boundary, rounds, frequencies, sigma, rng)
        if (found := boundary.settle()) is not None:
            adv_images[row : row + 1] = like(found[None], images)
    return victim.result(adv_images)


def _project(boundary: Boundary, rounds: int, frequencies: int, sigma: float, rng: np.random.Generator) -> None:
    start = boundary.start(rng)
    if start is None or start is boundary.image:
        return
    here = boundary.approach(start, _TOLERANCE)
    shares = _GROWTH ** np.arange(rounds)
    samples = np.maximum((boundary.left - rounds * _BISECTION) * shares / shares.sum(), 2).astype(int)
    for count in samples:
        normal = _normal(boundary, here, int(count), frequencies, sigma, rng)
        reach = boundary.distance(here)
        ladder = np.clip(boundary.image + (reach * _LADDER)[:, None, None, None] * normal, 0.0, 1.0)
        hits = boundary.fools(ladder)
        if hits.any():
            here = boundary.approach(ladder[int(hits.argmax())], _TOLERANCE)


def _normal(
    boundary: Boundary, here: Floats, samples: int, frequencies: int, sigma: float, rng: np.random.Generator
) -> Floats:
    """Of length 1 in the norm, from the boundary into what fools."""
    from scipy.fft import idctn  # noqa: PLC0415  # SciPy is a third of the service's imports, and few attacks need it

    lowest = min(frequencies, *here.shape[1:])
    spectrum = np.zeros((samples, *here.shape))
    spectrum[..., :lowest, :lowest] = rng.standard_normal((samples, len(here), lowest, lowest))
    noise = idctn(spectrum, axes=(2, 3), norm="ortho")
    points = np.clip(here + sigma * noise, 0.0, 1.0)
    answers = np.where(boundary.fools(points), 1.0, -1.0)
    normal: Floats = (answers[:, None, None, None] * (points - here)).mean(axis=0)
    if boundary.norm == "linf":
        return np.sign(normal)
    return normal / max(float(np.sqrt((normal**2).sum())), 1e-12)
