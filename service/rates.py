"""How often a client may ask: token buckets, one a client, in bounded memory. Knows no HTTP."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

WINDOW_S = 60
_MAX_CLIENTS = 10_000


@dataclass(frozen=True)
class Standing:
    """Where a client stands: whether it may ask now, what is left, and the seconds until that is more (0: full)."""

    allowed: bool
    remaining: int
    reset_s: int


class RateLimits:
    """Each client may ask `per_minute` times at once, and gets them back evenly over a minute.

    Past 10,000 clients the one that has not asked for longest is forgotten, which gives it a full bucket.
    """

    def __init__(
        self, per_minute: int, clock: Callable[[], float] = time.monotonic, max_clients: int = _MAX_CLIENTS
    ) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._max_clients = max_clients
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> Standing:
        """Count a request of a client."""
        now = self._clock()
        tokens, then = self._buckets.pop(client, (float(self.per_minute), now))
        a_token_s = WINDOW_S / self.per_minute
        tokens = min(float(self.per_minute), tokens + (now - then) / a_token_s)
        allowed = tokens >= 1
        tokens -= allowed
        self._buckets[client] = (tokens, now)
        if len(self._buckets) > self._max_clients:
            self._buckets.popitem(last=False)
        return Standing(allowed, int(tokens), math.ceil((math.floor(tokens) + 1 - tokens) * a_token_s))
