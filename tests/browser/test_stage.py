"""The three pictures: what is shown is what the service answered, and only the latest wish counts."""

from __future__ import annotations

import base64

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visiting
from tests.browser.reading import (
    ROLES,
    allowed,
    answers,
    bars,
    count_attacks,
    greys,
    marks,
    settled,
    slide,
)
from tests.browser.running import Service
from tests.service.asking import pixels_of

DELAY_MS = 1000
DELAY_PGD = f"""(() => {{
    const quick = window.fetch;
    window.fetch = async (url, options) => {{
        const answer = await quick(url, options);
        if (String(url).includes("method=pgd")) await new Promise(done => setTimeout(done, {DELAY_MS}));
        return answer;
    }};
}})()"""


# Counts the frames from the moment that an answer's pictures are decoded to the moment that they are on the page.
COUNT_FRAMES = """(() => {
    let frames = 0;
    let decoded = 0;
    const tick = () => { frames += 1; requestAnimationFrame(tick); };
    requestAnimationFrame(tick);
    window.framesToShow = [];
    const decode = window.createImageBitmap;
    window.createImageBitmap = async (...picture) => {
        const bitmap = await decode(...picture);
        decoded = frames;
        return bitmap;
    };
    addEventListener("DOMContentLoaded", () => new MutationObserver(() => window.framesToShow.push(frames - decoded))
        .observe(document.querySelector("#timings"), { childList: true }));
})()"""


def test_the_pictures_are_the_services_answer(shipped: Service, visit: Visiting) -> None:
    page = visit(shipped).open("#method=fgsm&eps=0.3&sample=7")
    expected = shipped.ask("attack?sample=7&method=fgsm&eps=0.3", data=b"")
    assert answers(page) == {role: expected[role]["class_name"] for role in ROLES}
    for role in ROLES:
        assert greys(page, role) == pixels_of(base64.b64decode(expected[role]["image_png"])).ravel().tolist()
        assert bars(page, role) == pytest.approx([100 * share for share in expected[role]["probabilities"]], abs=0.051)
        assert sum(bars(page, role)) == pytest.approx(100, abs=0.5)
    assert marks(page) == {"clean": "right", "adversarial": "wrong", "purified": "rescued"}
    verdict = page.locator("#verdict").inner_text()
    assert (
        verdict
        == f"The network reads 7. Attacked, it reads {answers(page)['adversarial']}. Purified, 7 again: rescued."
    )


def test_each_picture_is_enlarged_crisply_and_the_change_fills_the_scale(shipped: Service, visit: Visiting) -> None:
    page = visit(shipped).open("#method=fgsm&eps=0.2")
    for canvas in page.locator(".picture canvas").all():
        box = canvas.bounding_box()
        assert box is not None
        assert box["width"] > 150
        assert canvas.evaluate("node => getComputedStyle(node).imageRendering") == "pixelated"
    strengths = page.locator("[data-role=change] canvas").evaluate(
        "node => Array.from(node.getContext('2d').getImageData(0, 0, 28, 28).data).filter((_, i) => i % 4 === 3)"
    )
    assert max(strengths) == 255
    assert page.locator("[data-role=change] .answer").inner_text() == "× 5.0"
    assert page.locator(".sizes").inner_text().split("\n")[:2] == ["largest, of a pixel", "0.200"]


def test_every_stage_is_timed(shipped: Service, visit: Visiting) -> None:
    page = visit(shipped).open("#method=fgsm")
    rows = dict(text.split("\n") for text in page.locator("#timings > div").all_inner_texts())
    names = ["reading the picture", "attack", "purifier", "classifier", "waiting, encoding", "in all", "seen from here"]
    assert list(rows) == names
    values = {name: float(text.split()[0]) * (1000 if text.endswith(" s") else 1) for name, text in rows.items()}
    assert sum(values[name] for name in names[:5]) == pytest.approx(values["in all"], rel=0.02)
    assert 0 < values["in all"] <= values["seen from here"]


def test_a_dragged_slider_ends_at_its_last_value_and_floods_nobody(shipped: Service, visit: Visiting) -> None:
    page = visit(shipped).open("#method=fgsm&eps=0.1")
    attacks = count_attacks(page)
    slide(page, "eps", *[step / 100 for step in range(10, 41)])
    expect(page.locator(".sizes dd").nth(1)).to_have_text("0.4")
    settled(page)
    assert allowed(page) == "0.4"
    assert page.locator("#eps-value").inner_text() == "0.40"
    assert len(attacks) <= 2
    assert "eps=0.4&" in attacks[-1]


def test_an_answer_is_on_the_page_within_a_frame(tiny: Service, visit: Visiting) -> None:
    visitor = visit(tiny)
    visitor.page.add_init_script(COUNT_FRAMES)
    page = visitor.open("#method=fgsm&eps=0.1")
    for step in range(11, 21):
        slide(page, "eps", step / 100)
        expect(page.locator(".sizes dd").nth(1)).to_have_text(f"{step / 100:g}")
    frames = page.evaluate("window.framesToShow")
    assert len(frames) == 11
    assert max(frames) <= 1, frames


def test_an_answer_that_comes_too_late_is_not_shown(tiny: Service, visit: Visiting) -> None:
    visitor = visit(tiny)
    visitor.page.add_init_script(DELAY_PGD)
    page = visitor.open("#method=fgsm")
    page.locator("#raw summary").click()
    page.select_option("#method", "pgd")
    page.select_option("#method", "fgsm")
    settled(page)
    page.wait_for_timeout(2 * DELAY_MS)
    expect(page.locator("#json")).to_contain_text('"method": "fgsm"')
    assert page.locator("#stage-error").is_hidden()
    page.select_option("#method", "pgd")
    expect(page.locator("#json")).to_contain_text('"method": "pgd"')


def test_every_choice_goes_into_the_request(shipped: Service, visit: Visiting) -> None:
    page = visit(shipped).open("#method=pgd&steps=5")
    attacks = count_attacks(page)
    page.locator("label:has([name=target][value=pipeline])").click()
    expect(page.locator(".sizes dd").nth(3)).to_have_text("adaptive")
    expect(page.locator("#knowledge-hint")).to_contain_text("Adaptive")
    page.select_option("#lead", "8")
    page.select_option("#defense", "autoencoder_paper")
    slide(page, "steps", 7)
    settled(page)
    wanted = {"target=pipeline", "target_label=8", "defense=autoencoder_paper", "method=pgd", "steps=7", "sample=7"}
    assert wanted <= set(attacks[-1].partition("?")[2].split("&"))
    page.select_option("#method", "fgsm")
    expect(page.locator("#steps-field")).to_be_hidden()
    settled(page)
    assert "steps=" not in attacks[-1]


def test_the_other_data_set_has_its_own_pictures_and_names(shipped: Service, visit: Visiting) -> None:
    page = visit(shipped).open("#method=fgsm")
    page.locator("label:has([name=dataset][value=fashion-mnist])").click()
    expect(page.locator("[data-role=clean] .bars .name").nth(9)).to_have_text("Ankle boot")
    settled(page)
    listing = shipped.ask("samples?dataset=fashion-mnist")["datasets"]["fashion-mnist"]["samples"]
    assert answers(page)["clean"] == listing[7]["class_name"]
    assert page.locator("#samples label").count() == len(listing)


def test_a_refusal_is_told_in_the_services_words_where_it_occurs(shipped: Service, visit: Visiting) -> None:
    page = visit(shipped, allowing=("422",)).open("#method=fgsm&sample=7")
    page.select_option("#lead", "7")
    words = "target_label is 7, which is what the classifier answers already; allowed: another class."
    expect(page.locator("#stage-error")).to_have_text(words)
    expect(page.locator("#verdict")).to_have_text("No answer to show.")
    expect(page.locator("#pictures")).to_have_attribute("data-stale", "true")
    page.select_option("#lead", "")
    expect(page.locator("#stage-error")).to_be_hidden()
    expect(page.locator("#pictures")).to_have_attribute("data-stale", "false")
    settled(page)
    assert answers(page)["clean"] == "7"
