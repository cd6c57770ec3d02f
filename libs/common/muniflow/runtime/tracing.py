"""Traces: one for each image, from its dispatch through every hop to its end. Off by default.

The context travels as the W3C header `traceparent` of each message. The coordinator makes the span of the image; its id
is made from the image's own, so a restart changes nothing. A worker's parent makes one span for each task, from what
its children report; children know nothing of it. With `MUNIFLOW_TRACES` off only OpenTelemetry's API is imported, which
costs a start 5 to 16 ms of CPU time beside what a process imports anyway; the SDK is imported where traces are on.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from opentelemetry import trace
from pydantic import Field

from muniflow.runtime.settings import Settings

TRACEPARENT = "traceparent"
OFF, OTLP = "off", "otlp"
FOLDER = "file:"
_HEADER = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED = 0x01
_MASK_64 = 2**64 - 1

NO_TRACER = trace.NoOpTracer()
AttributeValue = str | int | float | list[str]


class TraceSettings(Settings):
    """Where traces go."""

    traces: str = Field(OFF, pattern=r"^(off|otlp|file:.+)$")
    """`off`; `otlp`, to where OTEL_EXPORTER_OTLP_ENDPOINT says; `file:<folder>`, JSON lines, one file a process."""
    traces_ratio: float = Field(1.0, ge=0, le=1)
    """Part of the images that are traced; the coordinator's setting counts."""


class ImageId(NamedTuple):
    """One run of one image; no two are equal."""

    batch: str
    submitted_at: float
    """Unix time, seconds: another batch may have this id one day."""
    image: int
    run: int


class SpanContext(NamedTuple):
    """Where in which trace."""

    trace_id: int
    """128 bits, never 0."""
    span_id: int
    """64 bits, never 0."""
    sampled: bool = True

    @classmethod
    def of_image(cls, image: ImageId, ratio: float = 1.0) -> Self:
        """The span of an image; the same image always has the same."""
        digest = hashlib.blake2b(repr(tuple(image)).encode(), digest_size=24).digest()
        trace_id = int.from_bytes(digest[:16], "big") or 1
        span_id = int.from_bytes(digest[16:], "big") or 1
        return cls(trace_id, span_id, trace_id & _MASK_64 < ratio * 2**64)

    @classmethod
    def read(cls, headers: Mapping[str, object]) -> Self | None:
        """The context in a message's headers; `None` where it is missing or malformed."""
        found = _HEADER.fullmatch(str(headers.get(TRACEPARENT, "")))
        if found is None or not int(found[1], 16) or not int(found[2], 16):
            return None
        return cls(int(found[1], 16), int(found[2], 16), bool(int(found[3], 16) & _SAMPLED))

    def header(self) -> str:
        """The header `traceparent` in the W3C's format."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{'01' if self.sampled else '00'}"


class NextId:
    """Which id the next span has; `None` stands for a random one."""

    place: SpanContext | None = None


@dataclass(frozen=True)
class Tracing:
    """The spans of one process; without arguments none are made.

    All methods are called on the process's loop; spans are sent in a thread of the SDK.
    """

    tracer: trace.Tracer = NO_TRACER
    next_id: NextId = field(default_factory=NextId)
    """What the tracer's ids follow."""
    shutdown: Callable[[], object] = lambda: None
    """Sends what is left; takes at most the SDK's own timeout."""
    ratio: float = 1.0
    """Part of the images that are traced."""

    @property
    def on(self) -> bool:
        """Whether spans are made at all."""
        return self.tracer is not NO_TRACER

    def headers(self, image: ImageId) -> dict[str, str | int]:
        """What to send with the first task of an image."""
        return {TRACEPARENT: SpanContext.of_image(image, self.ratio).header()} if self.on else {}

    def ended(self, image: ImageId, began_at: float, state: str) -> None:
        """Make the span of an image that is settled; it was dispatched at `began_at` (unix seconds)."""
        place = SpanContext.of_image(image, self.ratio)
        if not place.sampled:
            return
        self.next_id.place = place
        try:
            span = self.tracer.start_span(
                "image",
                context=trace.set_span_in_context(trace.INVALID_SPAN),
                attributes={
                    "muniflow.batch": image.batch, "muniflow.image": image.image, "muniflow.run": image.run,
                    "muniflow.state": state,
                },
                start_time=_ns(began_at),
            )  # fmt: skip
        finally:
            self.next_id.place = None
        if state == "failed":
            span.set_status(trace.Status(trace.StatusCode.ERROR))
        span.end()

    def task(
        self,
        came: SpanContext,
        name: str,
        attributes: Mapping[str, AttributeValue],
        times: tuple[float, float],
        failure: str | None = None,
    ) -> SpanContext:
        """Make the span of a task, below the one it came with; returns its context, for what follows it.

        Args:
            came: the context of the task's message.
            name: its operation.
            attributes: of the span.
            times: start and end, unix seconds.
            failure: why the task failed.
        """
        began_at, ended_at = times
        span = self.tracer.start_span(
            name,
            context=trace.set_span_in_context(trace.NonRecordingSpan(_context(came))),
            kind=trace.SpanKind.CONSUMER,
            attributes=attributes,
            start_time=_ns(began_at),
        )
        if failure is not None:
            span.set_status(trace.Status(trace.StatusCode.ERROR, failure))
        span.end(_ns(ended_at))
        made = span.get_span_context()
        return SpanContext(made.trace_id, made.span_id)

    def stop(self) -> None:
        """Send what is left."""
        self.shutdown()


def _context(place: SpanContext) -> trace.SpanContext:
    sampled = trace.TraceFlags(trace.TraceFlags.SAMPLED)
    return trace.SpanContext(place.trace_id, place.span_id, is_remote=True, trace_flags=sampled)


def _ns(at: float) -> int:
    return int(at * 1e9)
