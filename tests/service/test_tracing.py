"""Traces hold no query; without the extra a sentence says what to install."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.trace import export
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.app import create_app
from service.errors import StartupError
from service.settings import Settings
from tests.service.conftest import wait_until_ready

ROOT = Path(__file__).parents[2]


def test_a_trace_names_the_route_and_forgets_the_query(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    spans = InMemorySpanExporter()
    monkeypatch.setattr(trace_exporter, "OTLPSpanExporter", lambda: spans)
    monkeypatch.setattr(export, "BatchSpanProcessor", export.SimpleSpanProcessor)
    with TestClient(create_app(settings.model_copy(update={"otel": True}))) as client:
        wait_until_ready(client)
        client.get("/samples?dataset=mnist&api_key=s3cret")
    told: list[dict[str, Any]] = [dict(span.attributes or {}) for span in spans.get_finished_spans()]
    assert any("/samples" in attributes.values() for attributes in told)
    assert "s3cret" not in str(told)
    assert not any("/readyz" in str(attributes) for attributes in told)


def test_without_the_extra_it_says_what_to_install(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation.fastapi", None)
    with pytest.raises(StartupError, match=r"set it to false, or install the extra `otel`: pip install"):
        create_app(settings.model_copy(update={"otel": True}))


def test_by_default_nothing_is_traced_nor_installed() -> None:
    assert Settings().otel is False
    for name in ("serve.txt", "serve-cuda.txt"):
        pinned = (ROOT / "requirements" / name).read_text()
        # The interface alone, which does nothing, comes with another package.
        assert set(re.findall(r"^opentelemetry-[a-z-]+", pinned, re.MULTILINE)) <= {"opentelemetry-api"}
