"""OpenTelemetry traces: a span for each request, and one for each step of a recommendation."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from m6rec.stores.extras import need

NANO = 1_000_000_000


class Traces:
    """Spans to a collector (OTLP over HTTP), or to an exporter that a test brings."""

    def __init__(self, endpoint: str = "", exporter: Any = None) -> None:
        why = "--traces"
        self._trace = need("opentelemetry.trace", why)
        sdk = need("opentelemetry.sdk.trace", why)
        export = need("opentelemetry.sdk.trace.export", why)
        resource = need("opentelemetry.sdk.resources", why).Resource
        self._propagate = need(
            "opentelemetry.trace.propagation.tracecontext", why
        ).TraceContextTextMapPropagator()
        processor = export.SimpleSpanProcessor(exporter) if exporter else None
        if processor is None:
            otlp = need("opentelemetry.exporter.otlp.proto.http.trace_exporter", why)
            processor = export.BatchSpanProcessor(otlp.OTLPSpanExporter(endpoint=endpoint))
        self._provider = sdk.TracerProvider(resource=resource.create({"service.name": "m6rec"}))
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("m6rec")

    @contextmanager
    def request(self, headers: Mapping[str, str]) -> Iterator[Any]:
        """The span of a request; a caller's traceparent is its parent."""
        parent = self._propagate.extract(dict(headers))
        span = self._tracer.start_span("request", context=parent, kind=self._trace.SpanKind.SERVER)
        try:
            yield span
        finally:
            span.end()

    def close(self, span: Any, name: str, status: int, seconds: Mapping[str, float]) -> None:
        """Says what a request was, and which steps it had; they end now, one after the other."""
        span.update_name(name)
        span.set_attribute("http.response.status_code", status)
        within = self._trace.set_span_in_context(span)
        end = time.time_ns()
        start = end - int(sum(seconds.values()) * NANO)
        for step, taken in seconds.items():
            child = self._tracer.start_span(step, context=within, start_time=start)
            start += int(taken * NANO)
            child.end(end_time=start)

    def shutdown(self) -> None:
        """Sends what waits."""
        self._provider.shutdown()
