"""The difference of logits ratio (arXiv 2003.01690, equations 6 and 7): a loss without scale, and its derivative."""

from __future__ import annotations

from array_api_compat import array_namespace

from service.attacks.white_box import Array, best_other, one_hot

_TINY = 1e-12


def dlr(logits: Array, labels: Array, targets: Array | None = None) -> Array:
    """The loss (N,) that rises as the answer leaves `labels` (for `targets`): above 0 where the label is beaten.

    Raises:
        ValueError: there are fewer than 3 classes, or 4 with targets.
    """
    xp = array_namespace(logits)
    step, scale = _parts(logits, labels, targets)
    return xp.sum(step * logits, axis=1) / _width(scale, logits)


def dlr_cotangent(logits: Array, labels: Array, targets: Array | None = None) -> Array:
    """The derivative (N, K) of `dlr` by the logits."""
    xp = array_namespace(logits)
    step, scale = _parts(logits, labels, targets)
    width = _width(scale, logits)[:, None]
    return step / width - xp.sum(step * logits, axis=1)[:, None] * scale / (width * width)


def _width(scale: Array, logits: Array) -> Array:
    return array_namespace(logits).sum(scale * logits, axis=1) + _TINY


def _parts(logits: Array, labels: Array, targets: Array | None) -> tuple[Array, Array]:
    """Numerator and denominator, both linear in the logits between two changes of their order: as weights (N, K)."""
    xp = array_namespace(logits)
    least = 3 if targets is None else 4
    if logits.shape[1] < least:
        raise ValueError(f"the victim knows {logits.shape[1]} classes; allowed: at least {least}")
    order = xp.argsort(logits, axis=1)

    def rank(place: int) -> Array:
        return xp.astype(one_hot(order[:, -place], logits), logits.dtype)

    other = best_other(logits, labels) if targets is None else targets
    step = xp.astype(one_hot(other, logits), logits.dtype) - xp.astype(one_hot(labels, logits), logits.dtype)
    below = rank(3) if targets is None else (rank(3) + rank(4)) / 2
    return step, rank(1) - below
