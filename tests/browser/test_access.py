"""Where not everybody may ask for everything: API keys, attacks that are switched off, and limits."""

from __future__ import annotations

import io
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from service import keys
from tests.browser.conftest import Visiting
from tests.browser.reading import answers, choose_sample, greys, marks, settled, violations
from tests.browser.running import Service, running
from tests.browser.test_sharing import CLIPBOARD, copied, ran
from tests.browser.test_sources import show
from tests.service.asking import png
from tests.service.tiny_models import image_of

REFUSED = ("401", "403")
LOOK = "() => [sessionStorage.length, localStorage.length, document.cookie]"


def a_key(name: str, groups: str) -> tuple[str, str]:
    """A key, and the line that the service wants of it."""
    line, told = io.StringIO(), io.StringIO()
    with redirect_stdout(line), redirect_stderr(told):
        assert keys.main([name, "--groups", groups]) == 0
    return told.getvalue().split()[-1], line.getvalue().strip()


ALICE, ALICE_LINE = a_key("alice", "infer,attack,admin")
BOB, BOB_LINE = a_key("bob", "infer")


@pytest.fixture(scope="module")
def locked(tiny_dir: Path) -> Iterator[Service]:
    """A service that wants a key."""
    with running("--models-dir", str(tiny_dir), PURIFIER_API_KEYS=f"{ALICE_LINE} {BOB_LINE}") as service:
        yield service


@pytest.fixture(scope="module")
def calm(tiny_dir: Path) -> Iterator[Service]:
    """A service that neither attacks nor takes benchmarks, as beyond loopback."""
    off = {"PURIFIER_ATTACKS": "false", "PURIFIER_BENCHMARKS": "false"}
    with running("--models-dir", str(tiny_dir), **off) as service:
        yield service


def give(page: Page, key: str) -> None:
    page.locator("#key").fill(key)
    page.get_by_role("button", name="Use it").click()


def test_a_key_is_asked_for_kept_in_the_tab_and_told_to_nobody(locked: Service, visit: Visiting) -> None:
    visitor = visit(locked, allowing=REFUSED, **CLIPBOARD)
    page = visitor.page
    page.goto(f"{locked.url}/#method=fgsm&sample=3")
    expect(page.get_by_label("This service asks for an API key.")).to_be_visible()
    expect(page.locator("#stage-error")).to_contain_text("those alone who have an API key")
    assert page.locator("#key-error").is_hidden()
    give(page, "purifier_wrong")
    expect(page.locator("#key-error")).to_have_text("The service does not know this API key.")
    give(page, "no key at all")
    expect(page.locator("#key-error")).to_contain_text("without spaces")
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        assert violations(page) == []
    give(page, ALICE)
    settled(page)
    assert answers(page)["clean"] == "mnist 3"
    assert page.locator("#key-form").is_hidden()
    assert page.locator("#stage-error").is_hidden()
    expect(page.locator("#samples img").first).to_have_js_property("naturalWidth", 28)
    link, curl = copied(page, "#copy-link"), copied(page, "#copy-curl")
    assert '-H "Authorization: Bearer $PURIFIER_KEY"' in curl
    assert ALICE not in link + curl + page.content()
    done = subprocess.run(
        ["bash", "-c", curl], env={**os.environ, "PURIFIER_KEY": ALICE}, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["clean"]["class_name"] == "mnist 3"
    assert page.evaluate(LOOK) == [1, 0, ""]
    page.click("#cost-start")
    expect(page.locator("#cost-status")).to_contain_text("50 timed calls")


def test_a_held_key_outlives_a_reload_and_can_be_forgotten(locked: Service, visit: Visiting) -> None:
    visitor = visit(locked, allowing=REFUSED)
    page = visitor.page
    page.goto(f"{locked.url}/#method=fgsm&sample=3")
    give(page, ALICE)
    settled(page)
    visitor.errors.clear()
    page.reload()
    settled(page)
    assert visitor.errors == []
    assert page.locator("#key-form").is_hidden()
    page.get_by_role("button", name="Forget the key").click()
    expect(page.locator("#key-form")).to_be_visible()
    assert page.evaluate(LOOK) == [0, 0, ""]


def test_what_a_key_does_not_open_is_told_where_it_was_asked_for(locked: Service, visit: Visiting) -> None:
    page = visit(locked, allowing=REFUSED).page
    page.goto(f"{locked.url}/#method=fgsm&sample=3")
    give(page, BOB)
    words = "the key of bob opens infer"
    expect(page.locator("#stage-error")).to_contain_text(words)
    expect(page.locator("#key-error")).to_contain_text(words)
    page.click("#sweep-start")
    expect(page.locator("#sweep-error")).to_contain_text(words)
    page.click("#cost-start")
    expect(page.locator("#cost-error")).to_contain_text(words)
    give(page, ALICE)
    expect(page.locator("#stage-error")).to_be_hidden()
    settled(page)
    assert answers(page)["clean"] == "mnist 3"


def test_where_attacks_are_off_it_says_so_and_purifies(calm: Service, visit: Visiting) -> None:
    page = visit(calm, **CLIPBOARD).open("#sample=3")
    expect(page.locator("#no-attacks")).to_contain_text("its operator has not switched attacks on")
    assert page.locator("#stage-error").is_hidden()
    for role, visible in {"clean": True, "change": False, "adversarial": False, "purified": True}.items():
        assert page.locator(f"[data-role={role}]").is_visible() == visible
    assert page.locator("#eps").is_hidden()
    assert page.locator("#defense").is_visible()
    assert marks(page, "clean", "purified") == {"clean": "right", "purified": "right"}
    assert greys(page, "clean") == image_of("mnist", 3).ravel().tolist()
    assert page.locator("#verdict").inner_text() == "The network reads mnist 3; purified it reads mnist 3 too."
    assert page.locator("#timings").inner_text().count("attack") == 0
    for panel, setting in (("sweep", "ATTACKS"), ("cost", "BENCHMARKS")):
        assert page.locator(f"#{panel}-start").is_disabled()
        assert f"PURIFIER_{setting}=true" in page.locator(f"#{panel}-status").inner_text()
    assert violations(page) == []
    answer = ran(copied(page, "#copy-curl"))
    assert (answer["label"], answer["defense"]) == (3, "autoencoder")
    choose_sample(page, 4)
    expect(page.locator("[data-role=purified] .answer")).to_contain_text("mnist 4")


def test_where_attacks_are_off_a_picture_of_ones_own_is_read_and_purified(calm: Service, visit: Visiting) -> None:
    page = visit(calm, **CLIPBOARD).open("#sample=3")
    show(page, "upload")
    page.set_input_files("#file", {"name": "6.png", "mimeType": "image/png", "buffer": png(image_of("mnist", 6))})
    expect(page.locator("[data-role=clean] .answer")).to_contain_text("mnist 6")
    settled(page)
    # Nobody knows what it is, so nothing is called right.
    assert page.locator(".mark:visible").count() == 0
    assert ran(copied(page, "#copy-curl"))["undefended"]["label"] == 6


@pytest.mark.parametrize("status", [429, 503])
def test_a_service_that_says_not_now_is_asked_again_when_it_says(tiny: Service, visit: Visiting, status: int) -> None:
    page = visit(tiny, allowing=(str(status),)).open("#method=fgsm&sample=3")
    refuse_every_other(page, "**/attack?*", status)
    choose_sample(page, 4)
    expect(page.locator("#stage-error")).to_contain_text("Allowed: the next request in 1 s. This page then asks again")
    expect(page.locator("#stage-error")).to_be_hidden()
    settled(page)
    assert answers(page)["clean"] == "mnist 4"
    page.select_option("#sweep-n", "12")
    page.click("#sweep-start")
    expect(page.locator("#sweep-status")).to_contain_text("the next request in 1 s")
    page.click("#sweep-cancel")
    expect(page.locator("#sweep-status")).to_contain_text("Cancelled after")
    assert page.locator("#sweep-error").is_hidden()


def test_an_upload_that_comes_at_a_bad_moment_is_sent_again(tiny: Service, visit: Visiting) -> None:
    page = visit(tiny, allowing=("429",)).open("#method=fgsm&sample=3")
    refuse_every_other(page, "**/purify?*", 429)
    show(page, "upload")
    page.set_input_files("#file", {"name": "6.png", "mimeType": "image/png", "buffer": png(image_of("mnist", 6))})
    expect(page.locator("[data-role=clean] .answer")).to_contain_text("mnist 6")


def refuse_every_other(page: Page, pattern: str, status: int) -> None:
    """Answer the first, third, fifth … of these requests with `status`, and a second to wait."""
    count = 0

    def handle(route: Route) -> None:
        nonlocal count
        count += 1
        if count % 2:
            problem = {"type": "about:blank", "detail": "Too much at once. Allowed: the next request in 1 s"}
            route.fulfill(status=status, headers={"Retry-After": "1"}, json=problem)
        else:
            route.continue_()

    page.route(pattern, handle)
