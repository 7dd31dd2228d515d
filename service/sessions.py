"""The graphs of a models folder as warmed sessions, each opened once, at its first use. Knows no data sets."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from service.inference import Runtime, Session
from service.manifest import Graph

# What requests bring: one image, one beside its purified self, the three stages of an attack, and these with theirs.
_WARM_BATCHES = (1, 2, 3, 6)
_WARM_BATCHES_SLOW = (1,)


class Sessions:
    """Sessions by graph. May be used from several threads."""

    def __init__(self, folder: Path, runtime: Runtime) -> None:
        self._folder = folder
        self._runtime = runtime
        self._open: dict[str, Session] = {}
        self._opening = Lock()

    def of(self, graph: Graph) -> Session:
        """The session of a graph; opened, and run once with each batch size of a request, at its first use; a slow
        one with a single image alone.

        Raises:
            DeviceError: the device cannot be used.
        """
        # Looked up without the lock first: opening a further graph must not hold up those that are open.
        if (session := self._open.get(graph.name)) is not None:
            return session
        with self._opening:
            session = self._open.get(graph.name)
            if session is None:
                session = self._runtime.open(self._folder / graph.file)
                for n in _WARM_BATCHES_SLOW if graph.slow else _WARM_BATCHES:
                    session.run(**_zeros(graph, n))
                self._open[graph.name] = session
        return session

    def provider(self, graph: Graph) -> str | None:
        """The execution provider that a graph runs on; None while it is not open."""
        session = self._open.get(graph.name)
        return session.provider if session else None


def _zeros(graph: Graph, n: int) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    return {
        spec.name: np.zeros(tuple(n if size == "N" else size for size in spec.shape), np.float32)
        for spec in graph.inputs
    }
