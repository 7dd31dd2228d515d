"""The graphs of a models folder as warmed sessions, each opened once, at its first use. Knows no data sets."""

from __future__ import annotations

import logging
from contextvars import Context
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from service import manifest as manifests
from service.errors import DeviceError, GraphError, ManifestError
from service.inference import Session
from service.manifest import Graph
from service.runtime import Runtime

_LOGGER = logging.getLogger(__name__)

# What requests bring: one image, one beside its purified self, the three stages of an attack, and these with theirs.
_WARM_BATCHES = (1, 2, 3, 6)
_WARM_BATCHES_SLOW = (1,)


class Sessions:
    """Sessions by graph. May be used from several threads."""

    def __init__(self, folder: Path, runtime: Runtime) -> None:
        self._folder = folder
        self._runtime = runtime
        self._open: dict[str, Session] = {}
        self._refused: dict[str, str] = {}
        self._opening = Lock()

    def of(self, graph: Graph) -> Session:
        """The session of a graph; compared with the manifest's hashes, opened, and run once with each batch size of a
        request, at its first use; a slow one with a single image alone.

        Raises:
            GraphError: a file is missing or has changed, the engine refuses it, or the device cannot be used.
        """
        # Looked up without the lock first: opening a further graph must not hold up those that are open.
        if (session := self._open.get(graph.name)) is not None:
            return session
        with self._opening:
            session = self._open.get(graph.name)
            if session is None:
                # In a context of its own: whoever asks first and gives up does not interrupt the opening.
                try:
                    session = Context().run(self._opened, graph)
                except GraphError as error:
                    self._refused[graph.name] = str(error)
                    raise
                self._refused.pop(graph.name, None)
                self._open[graph.name] = session
        return session

    def _opened(self, graph: Graph) -> Session:
        try:
            for file in graph.files:
                manifests.check(self._folder, file)
            session = self._runtime.open(self._folder / graph.file)
            for n in _WARM_BATCHES_SLOW if graph.slow else _WARM_BATCHES:
                session.run(**_zeros(graph, n))
        except Exception as error:
            # Of many kinds, in several lines and with paths: for the log alone.
            _LOGGER.error("graph %r cannot be opened: %s", graph.name, " ".join(str(error).split()))
            raise GraphError(
                f"graph {graph.name!r} cannot be opened: {_why(error)}; the server's log says more"
            ) from error
        return session

    def refused(self, graph: Graph) -> str:
        """Why a graph could not be opened when it was last asked for; empty where nothing is known against it."""
        return self._refused.get(graph.name, "")

    def provider(self, graph: Graph) -> str | None:
        """The execution provider that a graph runs on; None while it is not open."""
        session = self._open.get(graph.name)
        return session.provider if session else None


def _why(error: Exception) -> str:
    """In words that any client may read."""
    match error:
        case ManifestError():
            return "a file of it is missing, or is not the one that the manifest names"
        case DeviceError():
            return "it did not get the device that was asked for"
        case _:
            return "ONNX Runtime refuses it"


def _zeros(graph: Graph, n: int) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    return {
        spec.name: np.zeros(tuple(n if size == "N" else size for size in spec.shape), np.float32)
        for spec in graph.inputs
    }
