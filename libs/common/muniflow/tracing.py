"""Traces: one for each image, from its dispatch through every hop to its end. Off by default, and then free.

The context travels as the W3C header `traceparent` of each message. The coordinator makes the span of the image; its id
is made from the image's own, so a restart changes nothing. A worker's parent makes one span for each task, from what
its children report; children know nothing of it. With `MUNIFLOW_TRACES` off nothing of OpenTelemetry is imported.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple, Self

from pydantic import Field

from muniflow.compute.groups import GroupResult
from muniflow.errors import Fault, Invalid
from muniflow.lineage import is_ancestor
from muniflow.messages import Task
from muniflow.settings import Settings, read_env
from muniflow.transport.types import OutgoingMessage

TRACEPARENT = "traceparent"
OFF, OTLP = "off", "otlp"
FOLDER = "file:"
_HEADER = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED = 0x01
_MASK_64 = 2**64 - 1
INSTALL = "install muniflow[traces] to send traces"


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


class Delivered(NamedTuple):
    """A task with the headers that it came with."""

    task: Task
    headers: Mapping[str, object]


class Tracing:
    """What processes tell about images and tasks; this one listens to nothing."""

    on: ClassVar[bool] = False
    """Whether it is worth to tell it anything."""

    def headers(self, image: ImageId) -> dict[str, str | int]:  # noqa: ARG002 - for those who override it
        """What to send with the first task of an image."""
        return {}

    def ended(self, image: ImageId, began_at: float, state: str) -> None:
        """An image, dispatched at `began_at` (unix seconds), is settled."""

    def follow(self, group: Sequence[Delivered], result: GroupResult) -> list[OutgoingMessage]:  # noqa: ARG002
        """A group is computed; returns its messages with the context of the task that each comes from."""
        return result.messages

    def stop(self) -> None:
        """Send what is left."""


def open_tracing(env: Mapping[str, str], service: str) -> Tracing:
    """The tracing that the environment asks for.

    Args:
        env: with MUNIFLOW_TRACES, MUNIFLOW_TRACES_RATIO, and the OTEL_… variables of OpenTelemetry itself.
        service: name of the process.

    Raises:
        Invalid: a setting is wrong, or OpenTelemetry is not installed.
    """
    settings = read_env(TraceSettings, env)
    if settings.traces == OFF:
        return Tracing()
    try:
        from muniflow.tracing_otel import open_otel

        return open_otel(settings, service)
    except ImportError as error:
        raise Invalid((Fault("MUNIFLOW_TRACES", f"{INSTALL}: {error}"),)) from None


def parent_of(message: OutgoingMessage, group: Sequence[Task]) -> int | None:
    """Which task of a group a message comes from, as its place; `None` for what is no task.

    It is the task of the same image with the longest lineage that the message's begins with.
    """
    try:
        made = Task.from_bytes(message.body)
    except ValueError:
        return None
    (of, *_) = made.lineages
    candidates = [
        (len(lineage), task.step, place)
        for place, task in enumerate(group)
        if (task.batch, task.image, task.run) == (made.batch, made.image, made.run) and task.step <= made.step
        for lineage in task.lineages
        if is_ancestor(lineage, of)
    ]
    return max(candidates)[2] if candidates else None
