"""A bar with the time that is left, on stderr; a line per stage where stderr is no terminal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TextIO

_WIDTH = 30
_EVERY_S = 0.25


class Progress:
    """Knows how many seconds the whole test will take, and how many are behind it."""

    def __init__(self, total_s: float, stream: TextIO) -> None:
        self._total_s = total_s
        self._behind_s = 0.0
        self._stream = stream

    @asynccontextmanager
    async def stage(self, name: str, seconds: float) -> AsyncIterator[None]:
        """Show the stage while the block runs, which is planned to take so long."""
        drawing = asyncio.create_task(self._draw(name, seconds))
        try:
            yield
        finally:
            drawing.cancel()
            self._behind_s += seconds
            if self._stream.isatty():
                self._stream.write("\r\x1b[K")
                self._stream.flush()

    async def _draw(self, name: str, seconds: float) -> None:
        if not self._stream.isatty():
            print(self.line(name, 0.0), file=self._stream, flush=True)
            return
        began = time.monotonic()
        while True:
            self._stream.write("\r\x1b[K" + self.line(name, min(seconds, time.monotonic() - began)))
            self._stream.flush()
            await asyncio.sleep(_EVERY_S)

    def line(self, name: str, elapsed_s: float) -> str:
        """The bar, the share done, the seconds left and the stage, `elapsed_s` into that stage."""
        done_s = min(self._total_s, self._behind_s + elapsed_s)
        share = done_s / self._total_s if self._total_s > 0 else 1.0
        bar = "#" * round(share * _WIDTH)
        return f"[{bar:.<{_WIDTH}}] {share:4.0%}  {self._total_s - done_s:4.0f} s left  {name}"
