"""How many bytes of bodies the process holds at once, over all of its requests. Knows no HTTP."""

from __future__ import annotations

from service.errors import BusyError

FREE_BYTES = 64 * 1024


class Holds:
    """A bound for all bodies together: one alone bounds nothing, where many are sent at once. For one event loop."""

    def __init__(self, max_bytes: int) -> None:
        self.held_bytes = 0
        self._max_bytes = max_bytes

    def of_a_request(self) -> Hold:
        """The share of a request, nothing yet."""
        return Hold(self)

    def move(self, size: int) -> None:
        """Hold so many bytes more, or less where it is negative.

        Raises:
            BusyError: that would be more than may be held.
        """
        if self.held_bytes + size > self._max_bytes:
            raise BusyError(
                f"the large bodies of all requests have more than {self._max_bytes} bytes, which is all that is held "
                "at once; try again later"
            )
        self.held_bytes += size


class Hold:
    """What one request holds until `release`; its first 64 KiB do not count, so that large bodies shut out no small."""

    def __init__(self, holds: Holds) -> None:
        self._holds = holds
        self._bytes = 0
        self._counted = 0

    def grow(self, size: int) -> None:
        """Hold so many bytes more. Raises BusyError as `Holds.move` does."""
        self._bytes += size
        counted = max(0, self._bytes - FREE_BYTES)
        self._holds.move(counted - self._counted)
        self._counted = counted

    def release(self) -> None:
        """Hold nothing."""
        self._holds.move(-self._counted)
        self._bytes = self._counted = 0
