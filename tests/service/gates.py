"""How the tests hold up the batcher's worker."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event
from typing import Any

import anyio
import pytest
from fastapi import FastAPI

from service.latency import Stopwatch
from service.state import ServiceState


class Gate:
    """Holds the worker at its first batch of what that class answers, until it is opened; `only="slow"`: of slow ones.

    `batches`: the sizes of the batches in requests.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answering: type[Any], only: str | None = None) -> None:
        self.open, self.reached = Event(), Event()
        self.batches: list[int] = []
        gate, usual = self, answering.answer

        def answer(self: Any, items: Sequence[Any], stopwatch: Stopwatch) -> Any:
            if only == "slow" and not self.slow:
                return usual(self, items, stopwatch)
            gate.reached.set()
            assert gate.open.wait(20)
            gate.batches.append(len(items))
            return usual(self, items, stopwatch)

        monkeypatch.setattr(answering, "answer", answer)


def until(condition: Any) -> None:
    """Wait for what happens in another thread; fails after 20 s."""

    async def wait() -> None:
        with anyio.fail_after(20):
            while not condition():
                await anyio.sleep(0.005)

    anyio.run(wait)


def state_of(app: FastAPI) -> ServiceState:
    state: ServiceState = app.state.service
    return state
