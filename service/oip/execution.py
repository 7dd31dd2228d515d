"""Requests of one model, computed together. Knows no HTTP; the batcher calls it in its thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from service.inference import Session, Tensors
from service.latency import Stopwatch


class Execution:
    """A graph that is open, under its name on the wire. Counts its runs in `executions`.

    `slow`: whether an image takes tenths of a second or more.
    """

    def __init__(self, name: str, session: Session, executions: Counter[str], *, slow: bool = False) -> None:
        self.slow = slow
        self._name = name
        self._session = session
        self._executions = executions

    def answer(self, requests: Sequence[Tensors], stopwatch: Stopwatch) -> list[Tensors]:
        """The outputs by name for each request's inputs by name, each with as many rows as its inputs have.

        A request stays whole; an answer depends on its own rows alone, whatever else is in the batch: on a CPU to the
        bit, on a GPU as far as its kernels for different batch sizes agree.
        """
        together = {name: np.concatenate([request[name] for request in requests]) for name in requests[0]}
        with stopwatch.stage("infer"):
            outputs = self._session.run(**together)
        self._executions[self._name] += 1
        ends = np.cumsum([len(request["images"]) for request in requests])[:-1]
        parts = {name: np.split(values, ends) for name, values in outputs.items()}
        return [{name: split[n] for name, split in parts.items()} for n in range(len(requests))]
