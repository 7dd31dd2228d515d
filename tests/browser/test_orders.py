"""Pictures that are still on their way: whichever answer comes first, what counts is what was chosen last."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Visiting
from tests.browser.reading import answers, choose_sample, expect_greys, greys, settled
from tests.browser.running import Service
from tests.browser.test_sources import show
from tests.service.asking import png
from tests.service.tiny_models import image_of

INK = np.full((28, 28), 255, np.uint8)
INK[5:23, 13:15] = 0
INVERTED = (255 - INK).ravel().tolist()
SIX = png(image_of("mnist", 6))


def choose_file(page: Page, body: bytes) -> None:
    page.set_input_files("#file", {"name": "picture.png", "mimeType": "image/png", "buffer": body})


def hold(page: Page, pattern: str) -> list[Route]:
    """The requests of this address, which are sent on by whoever calls `continue_`."""
    held: list[Route] = []

    def keep(route: Route) -> None:  # a function of our own: Playwright sets attributes on it
        held.append(route)

    page.route(pattern, keep)
    return held


def until(page: Page, held: list[Route], count: int) -> None:
    for _ in range(300):
        if len(held) >= count:
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"{len(held)} requests came, not {count}")


def test_dark_ink_on_light_paper_is_noticed_and_can_be_inverted(shipped: Service, visit: Visiting) -> None:
    page = visit(shipped).open("#method=fgsm")
    show(page, "upload")
    choose_file(page, png(INK))
    expect(page.locator("#upload-hint")).to_contain_text("try Invert")
    page.locator("#invert").check()
    # Both pictures may be read as a 1, so the answer's text does not tell when the second has come.
    expect_greys(page, INVERTED)
    settled(page)
    expect(page.locator("[data-role=clean] .answer")).to_contain_text("1")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["in_order", "overtaken"])
def test_inverting_while_the_file_is_on_its_way_shows_the_inverted_one(
    tiny: Service, visit: Visiting, order: tuple[int, int]
) -> None:
    page = visit(tiny).open("#method=fgsm&sample=3")
    held = hold(page, "**/purify?*")
    show(page, "upload")
    choose_file(page, png(INK))
    until(page, held, 1)
    page.locator("#invert").check()
    until(page, held, 2)
    for number in order:
        with page.expect_event("requestfinished", lambda request: "/purify?" in request.url):
            held[number].continue_()
        page.wait_for_timeout(300)
    expect_greys(page, INVERTED)
    settled(page)
    page.wait_for_timeout(300)
    assert greys(page, "clean") == INVERTED


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["in_order", "overtaken"])
def test_inverting_while_the_file_is_attacked_shows_the_inverted_one(
    tiny: Service, visit: Visiting, order: tuple[int, int]
) -> None:
    page = visit(tiny).open("#method=fgsm&sample=3")
    held = hold(page, "**/attack?*")
    show(page, "upload")
    choose_file(page, png(INK))
    until(page, held, 1)
    page.locator("#invert").check()
    until(page, held, 2)
    for number in order:
        held[number].continue_()
        page.wait_for_timeout(300)
    expect_greys(page, INVERTED)
    settled(page)
    assert page.locator("#stage-error").is_hidden()


def to_a_sample(page: Page) -> None:
    show(page, "samples")
    choose_sample(page, 4)


def to_a_link(page: Page) -> None:
    page.evaluate("() => { location.hash = 'method=fgsm&sample=4'; }")


def to_the_other_data_set(page: Page) -> None:
    page.locator("label:has([name=dataset][value=fashion-mnist])").click()


@pytest.mark.parametrize(
    ("away", "shown"),
    [(to_a_sample, "mnist 4"), (to_a_link, "mnist 4"), (to_the_other_data_set, "fashion-mnist 3")],
)
@pytest.mark.parametrize("body", [SIX, b"no picture at all"], ids=["picture", "refused"])
def test_a_file_still_on_its_way_does_not_replace_what_is_chosen_since(
    tiny: Service, visit: Visiting, body: bytes, away: Callable[[Page], None], shown: str
) -> None:
    page = visit(tiny, allowing=("422",)).open("#method=fgsm&sample=3")
    held = hold(page, "**/purify?*")
    show(page, "upload")
    choose_file(page, body)
    until(page, held, 1)
    away(page)
    expect(page.locator("[data-role=clean] .answer")).to_have_text(f"read as {shown}")
    with page.expect_event("requestfinished", lambda request: "/purify?" in request.url):
        held[0].continue_()
    page.wait_for_timeout(300)
    settled(page)
    assert answers(page)["clean"] == shown
    assert "image=" not in page.url
    assert page.locator("#panel-samples").is_visible()
    assert page.locator("#picture-error").is_hidden()


def test_a_file_that_is_chosen_before_the_service_has_answered_is_shown(tiny: Service, visit: Visiting) -> None:
    page = visit(tiny).page
    held = hold(page, "**/models")
    page.goto(f"{tiny.url}/#method=fgsm&sample=3")
    until(page, held, 1)
    show(page, "upload")
    with page.expect_response("**/purify?*"):
        choose_file(page, SIX)
    held[0].continue_()
    expect(page.locator("[data-role=clean] .answer")).to_contain_text("mnist 6")
    assert page.locator("#panel-upload").is_visible()
