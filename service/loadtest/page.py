"""The findings as one HTML file that asks no other host, and runs no script, for anything."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from service.loadtest.chart import curve
from service.loadtest.plan import Findings
from service.loadtest.table import COLUMNS, cell, rows, sentences

_STYLE = """
:root { color-scheme: light dark; --p50: #1668b8; --p99: #b8430f; --line: #8884; }
@media (prefers-color-scheme: dark) { :root { --p50: #6cb2f5; --p99: #f59a6c; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
td:first-child, th:first-child { text-align: left; }
.facts td { text-align: left; }
svg { width: 100%; height: auto; }
svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
.grid { stroke: var(--line); }
.p50 { color: var(--p50); } .p99 { color: var(--p99); }
"""


def html(found: Findings, facts: Mapping[str, str]) -> str:
    """A whole document. `facts` are what was loaded, from where, and when; all of it is escaped."""
    knee = found.knee
    drawn = curve([stage.summary() for stage in found.closed], knee.users if knee else None)
    listed = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences(found))
    named = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts.items())
    figure = (
        '<h2>Latency against throughput</h2><p>Closed loop, a point per number of users: <span class="p50">p50</span>'
        f' and <span class="p99">p99</span>.</p>{drawn}'
    )
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Load test of {escape(facts.get("target", ""))}</title>
<style>{_STYLE}</style>
<h1>Load test</h1>
<table class="facts">{named}</table>
<ul>{listed}</ul>
{figure if drawn else ""}
<h2>Every stage</h2>
<div class="wide">{_table(found)}</div>
</html>
"""


def _table(found: Findings) -> str:
    header = "".join(f"<th>{escape(title)}</th>" for title in COLUMNS.values())
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell(value))}</td>" for value in row.values()) + "</tr>" for row in rows(found)
    )
    return f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"
