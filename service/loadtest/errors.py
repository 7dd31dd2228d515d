"""What ends a load test before it has begun."""

from __future__ import annotations


class TargetError(Exception):
    """The target may not or cannot be loaded; the message says what is allowed."""
