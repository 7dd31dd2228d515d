"""The report: one file, no other host, nothing that a server says gets in as markup."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

from service.loadtest.chart import curve
from service.loadtest.page import html
from service.loadtest.plan import Findings
from service.loadtest.progress import Progress
from service.loadtest.samples import Sample, Stage


def stage(users: int, results: int, latency_ms: float) -> Stage:
    return Stage(f"{users} users", 1.0, [Sample(0.0, latency_ms, latency_ms, 200)] * results, users=users)


FOUND = Findings(closed=[stage(1, 40, 3.0), stage(2, 70, 4.0), stage(4, 71, 90.0)])


def test_the_curve_has_a_point_per_stage_and_marks_the_knee() -> None:
    svg = curve([each.summary() for each in FOUND.closed], knee_users=2)
    drawn = ElementTree.fromstring(svg)
    assert len(drawn.findall("circle")) == 2 * 3
    assert [text.text for text in drawn.findall("text") if text.text and "knee" in text.text] == ["2 knee"]
    places = [float(circle.attrib[axis]) for circle in drawn.findall("circle") for axis in ("cx", "cy")]
    assert all(0 <= place <= 720 for place in places)


def test_without_an_answer_there_is_no_curve() -> None:
    assert curve([stage(1, 0, 1.0).summary()], None) == ""
    assert "<svg" not in html(Findings(), {})


def test_the_report_asks_no_other_host_and_runs_no_script() -> None:
    page = html(FOUND, {"target": "http://127.0.0.1:8000/classify"})
    assert "default-src 'none'" in page
    assert not re.search(r"<(script|link|img|iframe)|src=|href=|@import|url\(", page)


def test_what_the_server_says_of_itself_is_escaped() -> None:
    page = html(FOUND, {"target": "<b>", "server <i>": "</td><script>"})
    assert "<script>" not in page
    assert "<i>" not in page
    assert "&lt;/td&gt;&lt;script&gt;" in page


def test_the_bar_tells_the_share_and_the_seconds_left() -> None:
    line = Progress(40.0, io.StringIO()).line("closed loop", 10.0)
    assert line == "[########......................]  25%    30 s left  closed loop"
