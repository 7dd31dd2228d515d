"""Accept headers (RFC 9110, section 12.5.1): which of our media types a client wants."""

from __future__ import annotations

import math

from service.errors import NotAcceptableError, shortened


def choose(accept: str | None, offers: tuple[str, ...]) -> str:
    """The offer of the highest quality; among equals the first one, which is also the one without a header.

    Ranges without a readable quality are skipped.

    Raises:
        NotAcceptableError: the header rules out every offer.
    """
    if accept is None or not accept.strip():
        return offers[0]
    ranges = [parsed for item in accept.split(",") if (parsed := _parse(item)) is not None]
    best = max(offers, key=lambda offer: _quality(offer, ranges))
    if _quality(best, ranges) == 0:
        raise NotAcceptableError(f"Accept is {shortened(accept)}; this can answer {' or '.join(offers)}")
    return best


def _parse(item: str) -> tuple[str, float] | None:
    media_range, *parameters = (part.strip().lower() for part in item.split(";"))
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                return None
    return (media_range, min(quality, 1.0)) if math.isfinite(quality) and quality >= 0 else None


def _quality(offer: str, ranges: list[tuple[str, float]]) -> float:
    """The quality that the most specific range gives an offer; 0 where none matches."""
    qualities = dict(ranges)
    group = offer.partition("/")[0]
    return next((qualities[name] for name in (offer, f"{group}/*", "*/*") if name in qualities), 0.0)
