"""The hyper-parameters that attacks share, with what a request may ask for, and the checks of their values.

The limits bound the work of one request. Who calls an attack from Python may go beyond them, as long as the value has
a meaning: `at_least` refuses what has none.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

MAX_STEPS = 1000
Eps = Annotated[
    float,
    Field(ge=0, le=28, allow_inf_nan=False, description="budget: the perturbation's size in `norm` is at most this"),
]
Steps = Annotated[int, Field(ge=1, le=MAX_STEPS, description="steps of the walk")]
StepSize = Annotated[float, Field(gt=0, le=28, allow_inf_nan=False, description="length of a step in `norm`")]
Restarts = Annotated[int, Field(ge=1, le=10, description="walks; of each image the best one counts")]
MaxQueries = Annotated[int, Field(ge=1, le=10_000, description="images that the victim may be asked to classify")]


def at_least(least: float, **values: float | None) -> None:
    """Refuse values that have no meaning; None passes.

    Raises:
        ValueError: one is below `least`, or not finite.
    """
    kind = "whole" if isinstance(least, int) else "finite"
    for name, value in values.items():
        if value is not None and not (np.isfinite(value) and value >= least):
            raise ValueError(f"{name} is {value}; allowed: a {kind} number of at least {least:g}")
