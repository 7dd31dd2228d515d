"""What a visitor sees on the page, as values."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
ROLES = ("clean", "adversarial", "purified")
# From a copy: Chromium warns of canvases that are read often without having been made for it.
_GREYS = """canvas => {
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    return Array.from(copy.getImageData(0, 0, canvas.width, canvas.height).data).filter((_, i) => i % 4 === 0);
}"""


def answers(page: Page) -> dict[str, str]:
    """The class that each picture is read as."""
    return {role: page.locator(f"[data-role={role}] .answer").evaluate("node => node.lastChild.data") for role in ROLES}


def marks(page: Page, *roles: str) -> dict[str, str]:
    """Right, wrong or rescued, for each picture, or those of `roles`."""
    return {role: page.locator(f"[data-role={role}] .mark").inner_text() for role in roles or ROLES}


def bars(page: Page, role: str) -> list[float]:
    """The ten probabilities of a picture, in per cent as printed."""
    return [float(text) for text in page.locator(f"[data-role={role}] .bars .value").all_inner_texts()]


def greys(page: Page, role: str) -> list[int]:
    """The 784 greys of a picture."""
    values: list[int] = page.locator(f"[data-role={role}] canvas").evaluate(_GREYS)
    return values


def expect_greys(page: Page, wanted: list[int]) -> None:
    """Wait until the original is this picture."""
    for _ in range(300):
        if greys(page, "clean") == wanted:
            return
        page.wait_for_timeout(100)
    raise AssertionError("the original never became this picture")


def choose_sample(page: Page, index: int) -> None:
    """Click a test image."""
    page.locator(f"label:has([name=sample][value='{index}'])").click()


def slide(page: Page, name: str, *values: float) -> None:
    """Drag a slider through values, faster than anything can answer."""
    page.locator(f"#{name}").evaluate(
        """(slider, values) => values.forEach(value => {
            slider.value = value;
            slider.dispatchEvent(new Event("input", { bubbles: true }));
        })""",
        list(values),
    )


def settled(page: Page) -> None:
    """Wait until what is shown belongs to what is chosen."""
    expect(page.locator("#pictures")).to_have_attribute("aria-busy", "false")


def allowed(page: Page) -> str:
    """The eps that the shown answer was computed with."""
    text: str = page.locator(".sizes dd").nth(1).inner_text()
    return text


def count_attacks(page: Page) -> list[Any]:
    """A list that grows with each request to /attack from now on."""
    requests: list[Any] = []
    page.on("request", lambda request: requests.append(request.url) if "/attack?" in request.url else None)
    return requests


def violations(page: Page) -> list[Any]:
    """What axe-core finds wrong with the page as it stands."""
    found = Axe().run(page, options=RULES).response["violations"]
    return [(item["id"], [node["html"] for node in item["nodes"]]) for item in found]
