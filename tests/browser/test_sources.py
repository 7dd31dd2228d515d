"""A picture of one's own: drawn, uploaded, pasted or dropped. And what happens where it is none."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Visiting
from tests.browser.reading import answers, choose_sample, expect_greys, greys, settled
from tests.browser.running import Service
from tests.service.asking import picture, png
from tests.service.tiny_models import image_of

# The strokes of a one and of a seven, in shares of the pad.
ONE = [[(0.5, 0.15), (0.5, 0.85)]]
SEVEN = [[(0.25, 0.2), (0.75, 0.2), (0.45, 0.85)]]
_TRANSFER = """([kind, target, base64]) => {
    const bytes = Uint8Array.from(atob(base64), character => character.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], "picture.png", { type: "image/png" }));
    const options = { bubbles: true, cancelable: true };
    const event = kind === "paste"
        ? new ClipboardEvent("paste", { ...options, clipboardData: data })
        : new DragEvent("drop", { ...options, dataTransfer: data });
    document.querySelector(target).dispatchEvent(event);
}"""


def show(page: Page, source: str) -> None:
    page.locator(f"label:has([name=source][value={source}])").click()


def draw_with_mouse(page: Page, strokes: list[list[tuple[float, float]]]) -> None:
    box = _box(page.locator("#pad"))
    for stroke in strokes:
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=8)
        page.mouse.up()


def draw_with_finger(page: Page, strokes: list[list[tuple[float, float]]]) -> None:
    box = _box(page.locator("#pad"))
    touch = page.context.new_cdp_session(page)
    for stroke in strokes:
        points = [{"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in stroke]
        touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": points[:1]})
        for point in points[1:]:
            touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def _box(locator: Locator) -> dict[str, float]:
    locator.scroll_into_view_if_needed()
    box = locator.bounding_box()
    assert box is not None
    return dict(box)  # type: ignore[arg-type]


@pytest.mark.parametrize(("strokes", "digit"), [(ONE, "1"), (SEVEN, "7")])
def test_a_digit_drawn_with_the_mouse_is_read_and_attacked(
    shipped: Service, visit: Visiting, strokes: Any, digit: str
) -> None:
    page = visit(shipped).open("#method=fgsm&sample=4")
    show(page, "draw")
    draw_with_mouse(page, strokes)
    expect(page.locator("[data-role=clean] .answer")).to_contain_text(digit)
    settled(page)
    assert answers(page)["adversarial"] != ""


def test_a_digit_drawn_with_a_finger_is_centred_as_mnist_centres_digits(shipped: Service, visit: Visiting) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    page = visit(shipped, **phone).open("#method=fgsm&sample=4")
    show(page, "draw")
    corner = [[(x * 0.5, y * 0.5) for x, y in stroke] for stroke in ONE]
    draw_with_finger(page, corner)
    expect(page.locator("[data-role=clean] .answer")).to_contain_text("1")
    settled(page)
    image = np.array(greys(page, "clean"), float).reshape(28, 28)
    rows, columns = np.indices((28, 28)) + 0.5
    centre = [(image * axis).sum() / image.sum() for axis in (rows, columns)]
    assert centre == pytest.approx([14, 14], abs=0.6)


def test_a_drawing_is_kept_where_the_data_set_changes(tiny: Service, visit: Visiting) -> None:
    page = visit(tiny).open("#method=fgsm")
    show(page, "draw")
    with page.expect_response("**/attack?*"):
        draw_with_mouse(page, SEVEN)
    settled(page)
    drawn = page.locator("#pad").evaluate("pad => pad.toDataURL()")
    page.locator("label:has([name=dataset][value=fashion-mnist])").click()
    expect(page.locator("[data-role=clean] .answer")).to_contain_text("fashion-mnist")
    assert page.locator("#panel-draw").is_visible()
    assert page.locator("#pad").evaluate("pad => pad.toDataURL()") == drawn


def test_clear_empties_the_pad(shipped: Service, visit: Visiting) -> None:
    page = visit(shipped).open("#method=fgsm")
    show(page, "draw")
    draw_with_mouse(page, ONE)
    brightest = """pad => pad.getContext('2d').getImageData(0, 0, 280, 280).data
        .reduce((most, value, i) => i % 4 < 3 ? Math.max(most, value) : most, 0)"""
    assert page.locator("#pad").evaluate(brightest) == 255
    page.click("#pad-clear")
    assert page.locator("#pad").evaluate(brightest) == 0


def test_an_uploaded_file_is_what_the_service_makes_of_it(tiny: Service, visit: Visiting) -> None:
    page = visit(tiny).open("#method=fgsm")
    show(page, "upload")
    large = picture(Image.fromarray(image_of("mnist", 6)).resize((112, 112), Image.Resampling.NEAREST))
    page.set_input_files("#file", {"name": "six.png", "mimeType": "image/png", "buffer": large})
    expect(page.locator("[data-role=clean] .answer")).to_contain_text("mnist 6")
    settled(page)
    assert greys(page, "clean") == image_of("mnist", 6).ravel().tolist()


def test_a_picture_that_only_the_service_could_read_is_not_shown_as_if_inverted(tiny: Service, visit: Visiting) -> None:
    page = visit(tiny).open("#method=fgsm&sample=3")
    page.evaluate("() => { window.createImageBitmap = () => Promise.reject(new Error('no')); }")
    show(page, "upload")
    page.locator("#invert").check()
    page.set_input_files("#file", {"name": "six.png", "mimeType": "image/png", "buffer": png(image_of("mnist", 6))})
    expect(page.locator("#picture-error")).to_contain_text("so it is not inverted")
    assert answers(page)["clean"] == "mnist 3"


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_a_picture_can_be_pasted_and_dropped_anywhere(tiny: Service, visit: Visiting, kind: str) -> None:
    page = visit(tiny).open("#method=fgsm")
    page.evaluate(_TRANSFER, [kind, "#verdict", base64.b64encode(png(image_of("mnist", 5))).decode()])
    expect(page.locator("[data-role=clean] .answer")).to_contain_text("mnist 5")
    assert page.locator("#panel-upload").is_visible()


def test_a_file_that_was_inverted_comes_back_with_the_link_and_can_be_turned_again(
    tiny: Service, visit: Visiting
) -> None:
    page = visit(tiny).open("#method=fgsm")
    show(page, "upload")
    page.locator("#invert").check()
    ink = png(255 - image_of("mnist", 6))
    page.set_input_files("#file", {"name": "ink.png", "mimeType": "image/png", "buffer": ink})
    expect(page.locator("[data-role=clean] .answer")).to_contain_text("mnist 6")
    settled(page)
    other = visit(tiny).open(page.url.removeprefix(f"{tiny.url}/"))
    assert greys(other, "clean") == image_of("mnist", 6).ravel().tolist()
    assert not other.locator("#invert").is_checked()
    other.locator("#invert").check()
    expect_greys(other, (255 - image_of("mnist", 6)).ravel().tolist())


def test_what_is_no_picture_is_refused_in_words_beside_the_upload(tiny: Service, visit: Visiting) -> None:
    page = visit(tiny, allowing=("422",)).open("#method=fgsm&sample=3")
    show(page, "upload")
    page.set_input_files("#file", {"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture at all"})
    expect(page.locator("#picture-error")).to_have_text("The 17 bytes are not a readable image; allowed: PNG and JPEG.")
    assert answers(page)["clean"] == "mnist 3"
    show(page, "samples")
    expect(page.locator("#picture-error")).to_be_hidden()
    choose_sample(page, 4)
    expect(page.locator("[data-role=clean] .answer")).to_contain_text("mnist 4")
