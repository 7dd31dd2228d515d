"""The page by keyboard alone: everything can be reached with Tab, in the order that is read, and worked from there."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visiting
from tests.browser.reading import settled
from tests.browser.running import Service

FOCUSED = """() => {
    const { id, name, tagName, textContent } = document.activeElement;
    return id || name || `${tagName.toLowerCase()} ${textContent.trim()}`;
}"""
# A radio button is drawn by what stands beside it.
OUTLINED = """() => [document.activeElement, document.activeElement.nextElementSibling]
    .some(node => node && getComputedStyle(node).outlineStyle !== "none")"""
ORDER = [
    *("a Skip to the pictures", "a Accuracy", "a Latency", "a Results", "a API"),
    *("dataset", "source", "sample", "shuffle", "method", "eps", "target", "lead", "defense"),
    *("copy-curl", "copy-link", "summary The request, and the answer as JSON"),
    *("sweep-n", "sweep-start", "cost-start"),
]


def tab_to(page: Page, wanted: str) -> None:
    """Press Tab until this has the focus."""
    for _ in range(len(ORDER) + 10):
        page.keyboard.press("Tab")
        if page.evaluate(FOCUSED) == wanted:
            return
    raise AssertionError(f"Tab never reaches {wanted}")


def test_tab_visits_everything_in_the_order_of_reading_and_shows_where_it_is(tiny: Service, visit: Visiting) -> None:
    page = visit(tiny).open("#method=fgsm")
    for wanted in ORDER:
        page.keyboard.press("Tab")
        assert page.evaluate(FOCUSED) == wanted
        assert page.evaluate(OUTLINED), wanted


def test_the_skip_link_leads_to_the_pictures(tiny: Service, visit: Visiting) -> None:
    page = visit(tiny).open("#method=fgsm&sample=3")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate(FOCUSED) == "stage"
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED) == "copy-curl"


def test_a_link_within_the_page_keeps_what_is_chosen(tiny: Service, visit: Visiting) -> None:
    page = visit(tiny).open("#method=fgsm&sample=3")
    address = page.url
    page.get_by_role("link", name="Results").click()
    expect(page.locator("#records")).to_be_focused()
    expect(page.locator("#records-title")).to_be_in_viewport()
    assert page.url == address
    assert page.locator("[name=sample]:checked").input_value() == "3"


def test_a_visit_without_a_mouse(tiny: Service, visit: Visiting) -> None:
    page = visit(tiny).open("#method=fgsm&sample=3")
    tab_to(page, "sample")
    page.keyboard.press("ArrowRight")
    expect(page.locator("[data-role=clean] .answer")).to_contain_text("mnist 4")
    tab_to(page, "eps")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".sizes dd").nth(1)).to_have_text("0.16")
    tab_to(page, "target")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".sizes dd").nth(3)).to_have_text("adaptive")
    tab_to(page, "summary The request, and the answer as JSON")
    page.keyboard.press("Enter")
    expect(page.locator("#json")).to_contain_text('"knowledge": "adaptive"')
    tab_to(page, "sweep-start")
    page.keyboard.press("Enter")
    expect(page.locator("#sweep-cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#sweep-status")).to_contain_text("Cancelled after")
    expect(page.locator("#sweep-start")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    for _ in range(30):
        if page.evaluate(FOCUSED) == "dataset":
            break
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowRight")
    settled(page)
    expect(page.locator("[data-role=clean] .answer")).to_contain_text("fashion-mnist 4")
