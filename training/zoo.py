"""The zoo: every attack that the service knows, with its defaults, some in a second norm. Knows no models."""

from __future__ import annotations

from typing import Any

from service.attacks import ATTACKS, Method, Norm
from service.attacks.norms import DEFAULT_EPS
from training.measurement import LENGTHS, AttackSpec

SQUARE_QUERIES = 5_000
# In L0 an attack's own limit: JSMA's share of the pixels, changed by pairs, and the one pixel.
_PIXELS: dict[str, float] = {"jsma": 112.0, "one_pixel": 1.0}


def specs() -> tuple[AttackSpec, ...]:
    """One spec a row of the matrix, on the bare classifier; L-inf first, then L2, then L0.

    All stand at the same budget of a norm: eps of the attacks that have one, the radius within which finding an image
    counts of those that look for the nearest.
    """
    chosen: dict[Method, dict[str, Any]] = {name: {} for name in ATTACKS}
    chosen["square"] = {"max_queries": SQUARE_QUERIES}
    found = [_spec(name, None, given) for name, given in chosen.items()]
    found += [_spec("pgd", "l2", {}), _spec("apgd_ce", "l2", {})]
    return tuple(sorted(found, key=lambda spec: ("linf", "l2", "l0").index(spec.norm)))


def _spec(method: Method, norm: Norm | None, given: dict[str, Any]) -> AttackSpec:
    plan = ATTACKS[method].plan(norm, given)
    lengths = [int(plan.settings[name]) for name in LENGTHS if name in plan.settings]
    return AttackSpec(
        method,
        _PIXELS[method] if plan.norm == "l0" else DEFAULT_EPS[plan.norm],
        steps=lengths[0] if lengths else 1,
        restarts=int(plan.settings.get("restarts", 1)),
        random_start=bool(plan.settings.get("random_start", False)),
        norm=plan.norm,
    )
