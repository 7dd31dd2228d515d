"""The page as a whole: accessible, of any width, light and dark, and honest about a service that is down.

The picture of the README, models/figures/page.png, is written on a machine that has nothing else to do by

    SCREENSHOTS=models/figures make test ARGS="tests/browser/test_whole_page.py -k 'looks and wide'"
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visiting
from tests.browser.reading import answers, choose_sample, settled, violations
from tests.browser.running import Service, start

WIDE = {"width": 1440, "height": 1120}
PHONE = {"width": 390, "height": 844}


def fill(page: Page) -> None:
    """Let every panel have something to show."""
    page.select_option("#sweep-n", "12")
    page.click("#sweep-start")
    expect(page.locator("#sweep-status")).to_contain_text("test images in")
    page.click("#cost-start")
    expect(page.locator("#cost-status")).to_contain_text("50 timed calls")
    for summary in page.locator("summary").all():
        summary.click()


def test_axe_finds_nothing(tiny: Service, visit: Visiting) -> None:
    page = visit(tiny).open("#method=fgsm")
    fill(page)
    for scheme, source, width in (
        ("light", "samples", 1440),
        ("dark", "upload", 1440),
        ("dark", "samples", 390),
        ("light", "draw", 390),
    ):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": 900})
        page.locator(f"label:has([name=source][value={source}])").click()
        assert violations(page) == [], (scheme, source, width)


def test_nothing_is_wider_than_the_window(tiny: Service, visit: Visiting) -> None:
    page = visit(tiny).open("#dataset=fashion-mnist&method=fgsm")
    for width in (320, 390, 768, 1024, 1440, 2200):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_function("width => document.documentElement.scrollWidth <= width", arg=width, timeout=5_000)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for canvas in page.locator(".picture canvas").all():
            box = canvas.bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
            assert box["width"] >= 90


def test_on_a_phone_the_slider_stays_in_reach_of_the_pictures(shipped: Service, visit: Visiting) -> None:
    page = visit(shipped, viewport=PHONE).open("#method=fgsm")
    expect(page.locator("[data-role=clean] canvas")).to_be_in_viewport()
    expect(page.locator("#eps")).to_be_in_viewport()


@pytest.mark.parametrize(("name", "size"), [("wide", WIDE), ("phone", PHONE)])
def test_how_it_looks(shipped: Service, visit: Visiting, tmp_path: Path, name: str, size: dict[str, int]) -> None:
    shipped.ask("attack?sample=7", data=b"")  # opens the graphs, whose time is not the attack's
    page = visit(shipped, viewport=size).open()
    for picture in page.locator("#samples img").all()[:15]:
        expect(picture).to_have_js_property("naturalWidth", 28)
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        background, ink = page.evaluate(
            "() => [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        brightness = [sum(int(part) for part in colour[4:-1].split(",")) for colour in (background, ink)]
        assert (brightness[0] > brightness[1]) == (scheme == "light")
        for_readme = (name, scheme) == ("wide", "light") and "SCREENSHOTS" in os.environ
        file = Path(os.environ["SCREENSHOTS"]) / "page.png" if for_readme else tmp_path / f"{scheme}.png"
        page.screenshot(path=file)
        assert 20_000 < file.stat().st_size < 300_000


def test_who_wants_no_motion_gets_none(tiny: Service, visit: Visiting) -> None:
    page = visit(tiny, reduced_motion="reduce").open("#method=fgsm")
    style = "() => getComputedStyle(document.querySelector('#pictures canvas')).transitionDuration"
    assert page.evaluate(style) == "0s"
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


def test_a_service_that_goes_down_is_told_and_its_return_noticed(tiny_dir: Path, visit: Visiting) -> None:
    service = start("--models-dir", str(tiny_dir))
    # It is killed, perhaps amid an answer: which network error the browser then logs is up to chance.
    visitor = visit(service, allowing=("net::ERR_",))
    page = visitor.open("#method=fgsm&sample=3")
    expect(page.locator("#status")).to_contain_text("Live on CPU")
    service.stop()
    choose_sample(page, 4)
    expect(page.locator("#stage-error")).to_have_text("The service does not answer.")
    expect(page.locator("#outage")).to_contain_text("asks again every 2 seconds")
    expect(page.locator("#status")).to_have_text("No answer")
    again = start("--models-dir", str(tiny_dir), port=int(service.url.rpartition(":")[2]))
    try:
        expect(page.locator("#outage")).to_be_hidden()
        expect(page.locator("#stage-error")).to_be_hidden()
        settled(page)
        assert answers(page)["clean"] == "mnist 4"
        page.context.close()
    finally:
        again.stop()


def test_a_page_opened_while_the_service_is_down_wakes_up(tiny: Service, visit: Visiting) -> None:
    visitor = visit(tiny, allowing=("ERR_FAILED",))
    page = visitor.page
    page.route("**/readyz", lambda route: route.abort())
    page.goto(f"{tiny.url}/#method=fgsm")
    expect(page.locator("#outage")).to_be_visible()
    page.unroute("**/readyz")
    expect(page.locator("#outage")).to_be_hidden()
    settled(page)
    assert answers(page)["clean"] == "mnist 7"


def test_the_description_of_the_api_needs_no_other_host(tiny: Service, visit: Visiting) -> None:
    page = visit(tiny).page
    page.goto(f"{tiny.url}/docs")
    expect(page.locator(".opblock-summary-path").first).to_be_visible()
    page.locator(".opblock", has_text="/healthz").locator("button.opblock-summary-control").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
