"""Traces through OpenTelemetry's SDK; imported only where they are on."""

import os
from collections.abc import Sequence
from pathlib import Path

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from muniflow import __version__
from muniflow.runtime.tracing import FOLDER, NextId, TraceSettings, Tracing

SCOPE = "muniflow"


class JsonLines(SpanExporter):
    """A file of one process, one span a line."""

    def __init__(self, path: Path) -> None:
        """Append to `path`; its folder is made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write."""
        self._file.writelines(span.to_json(indent=None) + "\n" for span in spans)
        self._file.flush()
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Close."""
        self._file.close()


class _Ids(RandomIdGenerator):
    """Random ids, except where the next span has its own."""

    def __init__(self, next_id: NextId) -> None:
        self._next = next_id

    def generate_trace_id(self) -> int:
        return self._next.place.trace_id if self._next.place else super().generate_trace_id()

    def generate_span_id(self) -> int:
        return self._next.place.span_id if self._next.place else super().generate_span_id()


def tracing_of(provider: TracerProvider, ratio: float = 1.0) -> Tracing:
    """Make spans with `provider`, whose ids are taken over; `ratio` of the images are traced."""
    next_id = NextId()
    provider.id_generator = _Ids(next_id)
    return Tracing(provider.get_tracer(SCOPE, __version__), next_id, provider.shutdown, ratio)


def open_otel(settings: TraceSettings, service: str) -> Tracing:
    """Tracing with the exporter that the settings name.

    Raises:
        ImportError: the exporter is not installed.
    """
    exporter: SpanExporter
    if settings.traces.startswith(FOLDER):
        exporter = JsonLines(Path(settings.traces.removeprefix(FOLDER)) / f"{service}-{os.getpid()}.jsonl")
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": f"muniflow-{service}"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return tracing_of(provider, settings.traces_ratio)
