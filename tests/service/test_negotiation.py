"""The Accept header is read as RFC 9110 has it."""

from __future__ import annotations

import pytest

from service.errors import NotAcceptableError
from service.negotiation import choose

OFFERS = ("image/png", "application/json")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "image/png"),
        ("", "image/png"),
        ("*/*", "image/png"),
        ("image/*", "image/png"),
        ("application/json", "application/json"),
        ("Application/JSON", "application/json"),
        ("application/*", "application/json"),
        ("application/json, image/png;q=0.9", "application/json"),
        ("application/json;q=0.5, image/png;q=0.6", "image/png"),
        ("application/json; charset=utf-8; q=0.5, */*;q=0.1", "application/json"),
        ("image/png;q=0, */*", "application/json"),
        ("image/png;q=0.1, image/*;q=0.9, application/json;q=0.5", "application/json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "image/png"),
        ("image/png;q=nonsense, application/json;q=0.1", "application/json"),
        (",,application/json", "application/json"),
    ],
)
def test_the_preferred_offer_is_chosen(accept: str | None, chosen: str) -> None:
    assert choose(accept, OFFERS) == chosen


@pytest.mark.parametrize(
    "accept", ["text/html", "image/png;q=0", "*/*;q=0", "image/png;q=nan", "png", "image/png;q=-1"]
)
def test_nothing_acceptable_is_an_error_that_names_the_offers(accept: str) -> None:
    with pytest.raises(NotAcceptableError, match="image/png or application/json"):
        choose(accept, OFFERS)
