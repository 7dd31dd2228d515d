"""Which attacks are offered, and what each takes: as GET /attacks says."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visiting
from tests.browser.reading import count_attacks, settled
from tests.browser.running import Service

EPS = {"name": "eps", "minimum": 0, "maximum": 1, "default": 0.15}
LISTING: dict[str, Any] = {
    "methods": [
        {
            "method": "pgd",
            "title": "Projected gradient descent",
            "aim": "budget",
            "access": "gradients",
            "targeted": True,
            "knowledge": {"classifier": "oblivious", "pipeline": "adaptive"},
            "norms": ["linf", "l2"],
            "parameters": {"linf": [EPS, {"name": "steps", "maximum": 20, "default": 5}], "l2": []},
        },
        {
            "method": "fgsm",
            "title": "DeepFool",
            "aim": "distance",
            "access": "decisions",
            "targeted": False,
            "knowledge": {"classifier": "black_box", "pipeline": "black_box"},
            "norms": ["l2"],
            "parameters": {"l2": [{"name": "eps", "maximum": 28, "default": 1.5}]},
        },
    ]
}


def offer(page: Page) -> None:
    """Let the service list these two, the second one with the traits of an attack that seeks the nearest picture."""
    page.route("**/attacks", lambda route: route.fulfill(json=LISTING))


def test_the_methods_that_the_service_lists_are_offered(tiny: Service, visit: Visiting) -> None:
    page = visit(tiny).open("#method=fgsm")
    names = [method["method"] for method in tiny.ask("attacks")["methods"]]
    assert page.locator("#method option").evaluate_all("all => all.map(one => one.value)") == names


def test_a_method_shows_the_sliders_that_it_has(tiny: Service, visit: Visiting) -> None:
    visitor = visit(tiny)
    offer(visitor.page)
    page = visitor.open("#method=fgsm&lead=2")
    attacks = count_attacks(page)
    expect(page.locator("#method option").first).to_have_text("PGD: Projected gradient descent")
    expect(page.locator("#eps-field")).to_be_hidden()
    expect(page.locator("#lead")).to_be_disabled()
    expect(page.locator("#knowledge-hint")).to_contain_text("Black box")
    page.select_option("#method", "pgd")
    settled(page)
    expect(page.locator("#eps-field")).to_be_visible()
    assert page.locator("#steps").get_attribute("max") == "20"
    assert page.locator("#steps-value").inner_text() == "5"
    assert "steps=5&" in attacks[-1]
    assert "target_label=2" in attacks[-1]
    page.select_option("#method", "fgsm")
    settled(page)
    assert "eps=" not in attacks[-1]
    assert "target_label=" not in attacks[-1]


def test_the_strip_refuses_a_method_without_eps_in_words(tiny: Service, visit: Visiting) -> None:
    visitor = visit(tiny)
    offer(visitor.page)
    page = visitor.open("#method=fgsm")
    page.click("#sweep-start")
    expect(page.locator("#sweep-error")).to_contain_text("has no ε to vary. Choose another method above")
    expect(page.locator("#sweep-start")).to_be_visible()
