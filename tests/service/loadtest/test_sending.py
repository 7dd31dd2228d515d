"""What the load generator does to its own process, so that its pauses are not taken for the service's."""

from __future__ import annotations

import asyncio
import gc

from service.loadtest.sending import connections


def test_what_the_generator_holds_is_kept_from_the_garbage_collector_while_it_sends() -> None:
    async def look() -> int:
        async with connections("http://127.0.0.1:1", 1):
            return gc.get_freeze_count()

    assert asyncio.run(look()) > 10_000
    assert gc.get_freeze_count() == 0
