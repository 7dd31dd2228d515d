"""What can be taken along: curl, link, JSON."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visiting
from tests.browser.reading import ROLES, allowed, answers, greys, settled
from tests.browser.running import Service
from tests.browser.test_sources import ONE, draw_with_mouse, show

CLIPBOARD = {"permissions": ["clipboard-read", "clipboard-write"]}
FRAGMENT = "#dataset=fashion-mnist&sample=12&method=fgsm&eps=0.07&target=pipeline&lead=3&defense=autoencoder_paper"


def copied(page: Page, button: str) -> str:
    page.click(button)
    expect(page.locator("#copied")).to_contain_text("in the clipboard")
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text


def ran(command: str) -> Any:
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


def assert_shown(page: Page, answer: Any) -> None:
    assert answers(page) == {role: answer[role]["class_name"] for role in ROLES}


def test_the_curl_command_gives_what_is_shown(shipped: Service, visit: Visiting) -> None:
    page = visit(shipped, **CLIPBOARD).open(FRAGMENT)
    answer = ran(copied(page, "#copy-curl"))
    assert_shown(page, answer)
    assert answer["parameters"]["target_label"] == 3
    assert answer["knowledge"] == "adaptive"


def test_the_curl_command_and_the_link_carry_a_drawing(shipped: Service, visit: Visiting) -> None:
    visitor = visit(shipped, **CLIPBOARD)
    page = visitor.open("#method=fgsm&eps=0.2")
    show(page, "draw")
    draw_with_mouse(page, ONE)
    expect(page.locator("[data-role=clean] .answer")).to_contain_text("1")
    settled(page)
    shown, drawing = answers(page), greys(page, "clean")
    answer = ran(copied(page, "#copy-curl"))
    assert_shown(page, answer)
    link = copied(page, "#copy-link")
    page.goto("about:blank")
    page.goto(link)
    expect(page.locator("[data-role=clean] .answer")).to_contain_text("1")
    settled(page)
    assert (answers(page), greys(page, "clean")) == (shown, drawing)
    assert page.locator("#panel-draw").is_visible()


def test_a_link_restores_every_choice(shipped: Service, visit: Visiting) -> None:
    page = visit(shipped, **CLIPBOARD).open(FRAGMENT)
    shown, link = answers(page), copied(page, "#copy-link")
    assert link == f"{shipped.url}/{FRAGMENT}"
    other = visit(shipped).open(link.removeprefix(f"{shipped.url}/"))
    assert answers(other) == shown
    assert allowed(other) == "0.07"
    assert other.locator("[name=dataset]:checked").input_value() == "fashion-mnist"
    assert other.locator("[name=sample]:checked").input_value() == "12"
    assert other.locator("[name=target]:checked").input_value() == "pipeline"
    for name, value in {"method": "fgsm", "eps": "0.07", "lead": "3", "defense": "autoencoder_paper"}.items():
        assert other.locator(f"#{name}").input_value() == value


def test_a_link_that_cannot_be_read_falls_back_to_the_defaults(tiny: Service, visit: Visiting) -> None:
    page = visit(tiny).open("#dataset=../x&method=%00&eps=7&steps=1e9&sample=-1&image=<b>&source=draw&lead=x&foo=1")
    assert page.locator("#method").input_value() == "pgd"
    assert page.locator("#eps-value").inner_text() == "0.15"
    assert page.locator("[name=sample]:checked").input_value() == "7"
    assert page.locator("#stage-error").is_hidden()


def test_the_answer_is_there_as_json(tiny: Service, visit: Visiting) -> None:
    page = visit(tiny).open("#method=fgsm&sample=3")
    page.locator("#raw summary").click()
    expect(page.locator("#json")).not_to_be_empty()
    answer = json.loads(page.locator("#json").inner_text())
    assert_shown(page, answer)
    assert len(answer["clean"]["probabilities"]) == 10
    assert page.locator("#curl").inner_text().startswith("curl -s -X POST 'http")
    page.locator("[name=sample][value='4']").check(force=True)
    expect(page.locator("#json")).to_contain_text('"class_name": "mnist 4"')


def test_without_a_clipboard_the_text_is_selected_instead(tiny: Service, visit: Visiting) -> None:
    page = visit(tiny).open("#method=fgsm")
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }")
    page.click("#copy-curl")
    expect(page.locator("#copied")).to_contain_text("selected below")
    assert page.evaluate("getSelection().toString()").startswith("curl -s")
