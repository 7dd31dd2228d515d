"""Below the pictures: accuracy against eps, latency, and the recorded results."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from itertools import combinations
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visiting
from tests.browser.running import Service

LIMITS = "Do not rely on it where an attacker can learn what you run."


def compute(page: Page, images: int) -> None:
    page.select_option("#sweep-n", str(images))
    page.click("#sweep-start")
    expect(page.locator("#sweep-progress")).to_be_visible()


def numbers(page: Page) -> list[list[float]]:
    """The strip's table: eps, then the three accuracies in per cent."""
    page.locator("#sweep-figure summary").click()
    rows = page.locator("#sweep-figure tbody tr").all()
    return [[float(text.removesuffix(" %")) for text in row.locator("th, td").all_inner_texts()] for row in rows]


def test_the_strip_counts_what_the_service_answers(tiny: Service, visit: Visiting) -> None:
    page = visit(tiny).open("#method=fgsm")
    compute(page, 12)
    expect(page.locator("#sweep-start")).to_be_visible()
    expect(page.locator("#sweep-status")).to_contain_text("12 test images in")
    rows = numbers(page)
    assert [row[0] for row in rows] == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    samples = tiny.ask("samples?dataset=mnist")["datasets"]["mnist"]["samples"][:12]
    for eps, *shares in rows[1:3]:
        right = [0, 0, 0]
        for sample in samples:
            query = f"sample={sample['index']}&label={sample['label']}&method=fgsm&eps={eps}"
            oblivious = tiny.ask(f"attack?{query}", data=b"")
            adaptive = tiny.ask(f"attack?{query}&target=pipeline", data=b"")
            right[0] += oblivious["adversarial"]["label"] == sample["label"]
            right[1] += oblivious["purified"]["label"] == sample["label"]
            right[2] += adaptive["purified"]["label"] == sample["label"]
        assert shares == [round(100 * count / 12) for count in right]
    assert rows[0][1:] == [100, 100, 100]
    assert page.locator("#sweep-figure .series .line").count() == 6  # three in the legend
    legend = page.locator("#sweep-figure .legend").inner_text().split("\n")
    assert legend == [
        "no purifier",
        "purifier, unknown to the attacker (oblivious)",
        "purifier, known to the attacker (adaptive)",
    ]


def test_the_strip_can_be_cancelled(shipped: Service, visit: Visiting) -> None:
    page = visit(shipped).open("#method=pgd&steps=2")
    compute(page, 48)
    expect(page.locator("#sweep-status")).to_contain_text("to go")
    assert 0 < page.locator("#sweep-progress").evaluate("node => node.value") < 1
    page.click("#sweep-cancel")
    expect(page.locator("#sweep-status")).to_contain_text("Cancelled after")
    expect(page.locator("#sweep-start")).to_be_visible()
    expect(page.locator("#sweep-progress")).to_be_hidden()


def test_table_3_is_measured_for_every_purifier_and_drawn(shipped: Service, visit: Visiting) -> None:
    page = visit(shipped).open("#method=fgsm")
    page.click("#cost-start")
    expect(page.locator("#cost-status")).to_contain_text("50 timed calls")
    defenses = [name for name in shipped.ask("models")["datasets"]["mnist"]["defenses"] if name != "none"]
    rows = [row.inner_text().split("\t") for row in page.locator("#cost-figure tbody tr").all()]
    assert len(rows) == len(defenses) + 3
    assert rows[0][0] == "our auto-encoder"
    assert all(cell.endswith(("ms", " s", "%")) for cell in rows[0][1:])
    printed = {row[0]: (row[1], row[5]) for row in rows[-3:]}
    assert printed["Defense-GAN, as printed"] == ("14.8 s", "85.3 %")
    assert page.locator("#cost-figure .plot .series.paper").count() == 3
    placed = [row for row in rows[:-3] if "–" not in (row[1], row[5])]
    assert page.locator("#cost-figure .plot .series.defended").count() == len(placed)
    assert "FGSM, ε 0.6, oblivious" in page.locator("#cost-figure").inner_text()
    plot = page.locator("#cost-figure .plot")
    wide = plot.get_attribute("width") or ""
    assert overlapping(page) == []
    page.set_viewport_size({"width": 390, "height": 900})
    expect(plot).not_to_have_attribute("width", wide)
    assert overlapping(page) == []


def overlapping(page: Page) -> list[Any]:
    """The names in the figure of latencies that lie over each other, or over the legend."""
    words = page.locator("#cost-figure :is(.legend, text.name)").all()
    boxes = [box for word in words if (box := word.bounding_box())]
    return [pair for pair in combinations(boxes, 2) if overlap(*pair)]


def overlap(one: Any, other: Any) -> bool:
    """Whether two boxes of the page have more than a hair in common."""
    return all(
        min(one[start] + one[size], other[start] + other[size]) - max(one[start], other[start]) > 2
        for start, size in (("x", "width"), ("y", "height"))
    )


def percent(share: float) -> str:
    """As toFixed(1) writes it: of two that are as near, the larger."""
    return str(Decimal(100 * share).quantize(Decimal("0.1"), ROUND_HALF_UP))


def test_every_recorded_number_stands_beside_its_attackers_knowledge(shipped: Service, visit: Visiting) -> None:
    page = visit(shipped).open("#method=fgsm")
    lines = page.locator("#records-table tbody tr")
    attacks = ["no", "FGSM", "FGSM", "FGSM", "PGD", "PGD", "Worst"]
    assert [text.split(" ")[0] for text in lines.all_inner_texts()] == attacks
    page.get_by_role("button", name="All ").click()
    most: dict[tuple[str, float, str], dict[str, Any]] = {}
    for row in shipped.ask("results?dataset=mnist")["rows"]:
        if row["defense"] == "autoencoder":
            key = (row["attack"], row["eps"], row["knowledge"])
            most[key] = max(row, most.get(key, row), key=lambda one: one["n"])
    shown = [text.split("\t") for text in lines.all_inner_texts()]
    for row in most.values():
        accuracy, low, high = (percent(row[name]) for name in ("robust_accuracy", "ci_low", "ci_high"))
        figure = f"{accuracy}\N{NO-BREAK SPACE}% [{low}, {high}]"
        found = [line for line in shown if line[4] == figure and f"{row['n']:,}" in line[2]]
        knowledge = row["knowledge"].replace("_", " ") or "–"
        assert any(line[1] == knowledge and f"{row['eps']:g}" in (line[0] + " 0") for line in found), row
    assert {line[1] for line in shown} >= {"oblivious", "adaptive"}
    assert LIMITS in page.locator("#records").inner_text()
    assert "beyond the information limit" in page.locator("#records-notes").inner_text()
    page.get_by_role("button", name="The main rows alone").click()
    expect(lines).to_have_count(len(attacks))


def test_without_recorded_results_it_says_so(tiny: Service, visit: Visiting) -> None:
    page = visit(tiny).open("#method=fgsm")
    expect(page.locator("#records-notes")).to_have_text("No results are recorded for the graphs that run here.")
