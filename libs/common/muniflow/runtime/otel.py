"""Traces through OpenTelemetry's SDK; imported only where they are on."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanKind, Status, StatusCode, TraceFlags

from muniflow import __version__
from muniflow.runtime.tracing import FOLDER, TRACEPARENT, AttributeValue, ImageId, SpanContext, TraceSettings, Tracing

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

    def __init__(self) -> None:
        self.next: SpanContext | None = None

    def generate_trace_id(self) -> int:
        return self.next.trace_id if self.next else super().generate_trace_id()

    def generate_span_id(self) -> int:
        return self.next.span_id if self.next else super().generate_span_id()


class OtelTracing(Tracing):
    """Spans for one process. All methods are called on its loop; sending happens in a thread of the SDK."""

    on: ClassVar[bool] = True

    def __init__(self, provider: TracerProvider, ratio: float = 1.0) -> None:
        """Make spans with `provider`, whose ids are taken over; `ratio` of the images are traced."""
        self._provider = provider
        self._ids = provider.id_generator = _Ids()
        self._tracer = provider.get_tracer(SCOPE, __version__)
        self._ratio = ratio

    def headers(self, image: ImageId) -> dict[str, str | int]:
        """What to send with the first task of an image."""
        return {TRACEPARENT: SpanContext.of_image(image, self._ratio).header()}

    def ended(self, image: ImageId, began_at: float, state: str) -> None:
        """Make the span of the image, at its end."""
        place = SpanContext.of_image(image, self._ratio)
        if not place.sampled:
            return
        self._ids.next = place
        try:
            span = self._tracer.start_span(
                "image",
                context=trace.set_span_in_context(trace.INVALID_SPAN),
                attributes={
                    "muniflow.batch": image.batch, "muniflow.image": image.image, "muniflow.run": image.run,
                    "muniflow.state": state,
                },
                start_time=_ns(began_at),
            )  # fmt: skip
        finally:
            self._ids.next = None
        if state == "failed":
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def stop(self) -> None:
        """Send what is left; takes at most the SDK's own timeout."""
        self._provider.shutdown()

    def task(
        self,
        came: SpanContext,
        name: str,
        attributes: Mapping[str, AttributeValue],
        times: tuple[float, float],
        failure: str | None = None,
    ) -> SpanContext:
        """Make the span of a task, below the one that it came with."""
        began_at, ended_at = times
        span = self._tracer.start_span(
            name,
            context=trace.set_span_in_context(NonRecordingSpan(_context(came))),
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            start_time=_ns(began_at),
        )
        if failure is not None:
            span.set_status(Status(StatusCode.ERROR, failure))
        span.end(_ns(ended_at))
        made = span.get_span_context()
        return SpanContext(made.trace_id, made.span_id)


def open_otel(settings: TraceSettings, service: str) -> OtelTracing:
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
    return OtelTracing(provider, settings.traces_ratio)


def _context(place: SpanContext) -> trace.SpanContext:
    return trace.SpanContext(place.trace_id, place.span_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _ns(at: float) -> int:
    return int(at * 1e9)
