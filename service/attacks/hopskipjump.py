"""HopSkipJump (arXiv 1904.02144): along the boundary towards the image, by the victim's decisions alone."""

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
_FIRST_RADIUS = 0.1


def hopskipjump(
    model: BlackBox,
    images: Array,
    labels: Array,
    *,
    max_queries: MaxQueries = 1000,
    first_samples: Annotated[int, Field(ge=2, le=1000, description="queries of the first direction")] = 50,
    norm: BallNorm = "l2",
    rng: np.random.Generator,
) -> Result:
    """Adversarial images (N, 1, 28, 28) in [0, 1] at a small distance in `norm`; the untouched image where none was
    found.

    Untargeted: away from `labels`. Estimates the boundary's direction from random points around it (as many more as
    the root of the round), jumps along it, and comes back to the boundary; as long as the queries last. One image
    after the other.

    Departure from the paper: starts from noise, the negative, black or white, whatever fools first, and the first
    direction takes 50 queries by default, not 100.

    Raises:
        ValueError: max_queries is below 1, or first_samples below 2.
    """
    at_least(1, max_queries=max_queries)
    at_least(2, first_samples=first_samples)
    xp = array_namespace(images)
    victim = Queries(model, images.shape[0])
    adv_images = xp.asarray(images, copy=True)
    for row in range(images.shape[0]):
        boundary = Boundary(victim, images, labels, row, norm=norm, max_queries=max_queries)
        _hop(boundary, first_samples, rng)
        if (found := boundary.settle()) is not None:
            adv_images[row : row + 1] = like(found[None], images)
    return victim.result(adv_images)


def _hop(boundary: Boundary, first_samples: int, rng: np.random.Generator) -> None:
    start = boundary.start(rng)
    if start is None or start is boundary.image:
        return
    dimensions = start.size
    theta = 1 / (dimensions * (np.sqrt(dimensions) if boundary.norm == "l2" else dimensions))
    here = boundary.approach(start, theta)
    hop = 0
    while boundary.left:
        hop += 1
        distance = boundary.distance(here)
        reach = theta * distance * (np.sqrt(dimensions) if boundary.norm == "l2" else dimensions)
        radius = _FIRST_RADIUS if hop == 1 else max(reach, 1e-6)
        direction = _direction(boundary, here, radius, int(first_samples * np.sqrt(hop)), rng)
        step = distance / np.sqrt(hop)
        while boundary.left:
            jumped = np.clip(here + step * direction, 0.0, 1.0)
            if boundary.fools(jumped[None])[0]:
                here = boundary.approach(jumped, theta)
                break
            step /= 2


def _direction(boundary: Boundary, here: Floats, radius: float, samples: int, rng: np.random.Generator) -> Floats:
    """Of length 1 in the norm, from the boundary into what fools."""
    shape = (samples, *here.shape)
    drawn = rng.standard_normal(shape) if boundary.norm == "l2" else rng.uniform(-1, 1, shape)
    drawn /= np.sqrt((drawn**2).sum(axis=(1, 2, 3), keepdims=True))
    points = np.clip(here + radius * drawn, 0.0, 1.0)
    drawn = (points - here) / radius
    answers = np.where(boundary.fools(points), 1.0, -1.0)
    weights = answers if np.all(answers == answers[0]) else answers - answers.mean()
    direction: Floats = (weights[:, None, None, None] * drawn).mean(axis=0)
    if boundary.norm == "linf":
        return np.sign(direction)
    return direction / max(float(np.sqrt((direction**2).sum())), 1e-12)
