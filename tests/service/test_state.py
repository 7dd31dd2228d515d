"""What is slow is computed apart, and ended when nobody waits for it any more."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import AbandonedError, TimeLimitError
from service.latency import Stopwatch
from service.runtime import Runtime
from service.settings import Settings
from service.state import ServiceState
from tests.service.loops import adding


class _Turns:
    """Adds so often as each question asks."""

    slow = True

    def __init__(self, folder: Path) -> None:
        runtime = Runtime("cpu", threads=1)
        self._sessions = {turns: runtime.open(adding(folder / f"{turns}.onnx", turns)) for turns in (3, 2**40)}

    def answer(self, items: Sequence[int], stopwatch: Stopwatch) -> Sequence[Any]:
        return [self._sessions[turns].run(images=np.zeros((1,), np.float32))["sum"].item() for turns in items]


@pytest.mark.parametrize("given_up", ["hung up", "too late"])
def test_a_slow_run_ends_with_whoever_waited_for_it_and_the_next_is_answered(
    given_up: str, tmp_path: Path, settings: Settings
) -> None:
    turns = _Turns(tmp_path)
    limit_s = 0.3 if given_up == "too late" else 30

    async def scenario() -> None:
        slow = ServiceState(settings.model_copy(update={"slow_timeout_s": limit_s})).slow
        serving = asyncio.ensure_future(slow.serve())
        endless = slow.enter(turns, 2**40, Stopwatch())
        while slow.waiting:
            await asyncio.sleep(0.01)
        if given_up == "hung up":
            endless.abandon()
        with pytest.raises((AbandonedError, TimeLimitError)):
            await slow.answer(endless)
        async with asyncio.timeout(10):
            while slow.running:
                await asyncio.sleep(0.01)
            assert await slow.answer(slow.enter(turns, 3, Stopwatch())) == 3
        serving.cancel()

    asyncio.run(scenario())
