"""Traces: one for each image, from its dispatch through every hop to its end. Off by default, and then free.

The context travels as the W3C header `traceparent` of each message. The coordinator makes the span of the image; its id
is made from the image's own, so a restart changes nothing. A worker's parent makes one span for each task, from what
its children report; children know nothing of it. With `MUNIFLOW_TRACES` off nothing of OpenTelemetry is imported.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import ClassVar, NamedTuple, Self

from pydantic import Field

from muniflow.runtime.settings import Settings

TRACEPARENT = "traceparent"
OFF, OTLP = "off", "otlp"
FOLDER = "file:"
_HEADER = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED = 0x01
_MASK_64 = 2**64 - 1

AttributeValue = str | int | float | list[str]


class TraceSettings(Settings):
    """Where traces go."""

    traces: str = Field(OFF, pattern=r"^(off|otlp|file:.+)$")
    """`off`; `otlp`, to where OTEL_EXPORTER_OTLP_ENDPOINT says; `file:<folder>`, JSON lines, one file a process."""
    traces_ratio: float = Field(1.0, ge=0, le=1)
    """Part of the images that are traced; the coordinator's setting counts."""


class ImageId(NamedTuple):
    """One run of one image, for all time."""

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
        """The span of an image: the same whoever asks, and whenever."""
        digest = hashlib.blake2b(repr(tuple(image)).encode(), digest_size=24).digest()
        trace_id = int.from_bytes(digest[:16], "big") or 1
        span_id = int.from_bytes(digest[16:], "big") or 1
        return cls(trace_id, span_id, trace_id & _MASK_64 < ratio * 2**64)

    @classmethod
    def read(cls, headers: Mapping[str, object]) -> Self | None:
        """The context in a message's headers; `None` where there is none, or it is none."""
        found = _HEADER.fullmatch(str(headers.get(TRACEPARENT, "")))
        if found is None or not int(found[1], 16) or not int(found[2], 16):
            return None
        return cls(int(found[1], 16), int(found[2], 16), bool(int(found[3], 16) & _SAMPLED))

    def header(self) -> str:
        """As the W3C writes it."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{'01' if self.sampled else '00'}"


class Tracing:
    """What processes tell about images and tasks; this one listens to nothing."""

    on: ClassVar[bool] = False
    """Whether it is worth to tell it anything."""

    def headers(self, image: ImageId) -> dict[str, str | int]:  # noqa: ARG002 - for those who override it
        """What to send with the first task of an image."""
        return {}

    def ended(self, image: ImageId, began_at: float, state: str) -> None:
        """An image, dispatched at `began_at` (unix seconds), is settled."""

    def task(
        self,
        came: SpanContext,  # noqa: ARG002
        name: str,  # noqa: ARG002
        attributes: Mapping[str, AttributeValue],  # noqa: ARG002
        times: tuple[float, float],  # noqa: ARG002
        failure: str | None = None,  # noqa: ARG002
    ) -> SpanContext | None:
        """A task that came with a context was done from `times[0]` to `times[1]` (unix seconds) by operation `name`.

        Returns the context of its span, for what follows it.
        """
        return None

    def stop(self) -> None:
        """Send what is left."""
