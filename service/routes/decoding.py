"""From the bytes of a picture to its pixels, without holding up the event loop."""

from __future__ import annotations

from service import images
from service.catalog import FloatArray
from service.latency import Stopwatch
from service.state import ServiceState


async def decoded(state: ServiceState, timer: Stopwatch, data: bytes) -> FloatArray:
    """The picture (1, 1, 28, 28) in [0, 1]; timed as stage `decode`.

    Raises:
        ImageError: the bytes are no picture.
        BusyError: as many large pictures wait as may.
    """

    def decode() -> FloatArray:
        with timer.stage("decode"):
            return images.decode(data)

    # A hop to a thread and back costs more than a small picture, and a large one would hold up the event loop.
    return decode() if images.is_small(data) else await state.pictures.run(decode, timer)
