"""Traces for an OpenTelemetry collector: the only file that imports opentelemetry, an extra.

Where it goes and how is told by OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, ...).
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from service.errors import StartupError, extra_hint

_UNTRACED = "healthz,readyz,metrics"
# Attributes that hold the query, under the old and the new names; a client may have put a secret there.
_WITH_QUERY = ("url.query", "url.full", "http.url", "http.target")


def install(app: FastAPI) -> None:
    """Trace every request of the application except those of probes.

    Raises:
        StartupError: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise StartupError(
            f"otel is true, but {error.name} is not installed; set it to false, or {extra_hint('otel')}"
        ) from error
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    FastAPIInstrumentor.instrument_app(
        app, excluded_urls=_UNTRACED, tracer_provider=provider, server_request_hook=_forget_query
    )


def _forget_query(span: Any, scope: dict[str, Any]) -> None:
    if span.is_recording():
        for name in _WITH_QUERY:
            if name in span.attributes:
                span.set_attribute(name, scope["path"])
