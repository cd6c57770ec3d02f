"""The messages that travel over the broker: small, versioned, frozen JSON. Pixels never travel in one.

| model | queue | from → to |
| --- | --- | --- |
| a batch document (`muniflow.model.batch`) | `muniflow.batches` | user → coordinator |
| `Task` | `muniflow.step.<op>` | coordinator or step worker → step worker |
| `Events` | `muniflow.events` | step worker → coordinator |
| `Command` | `muniflow.control` | command line, gateway → coordinator |
| `Notice` | exchange `muniflow.notify` | coordinator → anybody |
"""

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from muniflow.model.lineage import WHOLE, Lineage
from muniflow.model.wire import OPEN, Message

Pair = tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=2)]]
ImageFormat = Literal["jpg", "png", "webp"]
IMAGE_FORMATS: tuple[ImageFormat, ...] = get_args(ImageFormat)
LOSSLESS: frozenset[ImageFormat] = frozenset({"png"})
"""Formats that take no quality."""
Decode = Literal["exact", "fast"]
BatchState = Literal["intake", "running", "finishing", "done", "partial", "failed", "cancelled", "rejected"]
ImageState = Literal["pending", "done", "failed", "cancelled"]
BATCH_STATES: tuple[BatchState, ...] = get_args(BatchState)
TERMINAL: frozenset[BatchState] = frozenset({"done", "partial", "failed", "cancelled", "rejected"})
UNFINISHED: tuple[BatchState, ...] = tuple(state for state in BATCH_STATES if state not in TERMINAL)


class RouteStep(BaseModel):
    """A step of a route: an operation with its checked, long-form parameters."""

    model_config: ClassVar[ConfigDict] = OPEN

    op: str
    params: dict[str, Any] = {}
    fan_out: Annotated[int, Field(ge=1)] = 1
    """How many images this step makes of one."""


Route = tuple[RouteStep, ...]


class Encoding(BaseModel):
    """How outputs are encoded."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: ImageFormat
    quality: Annotated[int, Field(ge=1, le=100)] | None = None
    """1 to 100 for jpg and webp; `None` takes the format's default. Not allowed for png, which is lossless."""


class RawRef(BaseModel):
    """Raw pixels inside a blob of the work store: uint8 BGR, rows `stride_bytes` apart.

    A tile is a reference into its parent's blob, so `split` copies nothing.
    """

    model_config: ClassVar[ConfigDict] = OPEN

    key: str
    width_px: Annotated[int, Field(ge=1)]
    height_px: Annotated[int, Field(ge=1)]
    stride_bytes: Annotated[int, Field(ge=3)]
    offset_bytes: Annotated[int, Field(ge=0)] = 0

    @property
    def size_px(self) -> int:
        """Width times height."""
        return self.width_px * self.height_px


class Tile(BaseModel):
    """An image between two steps, or a part of one: where it comes from, and its pixels."""

    model_config: ClassVar[ConfigDict] = OPEN

    lineage: tuple[Pair, ...] = WHOLE
    pixels: RawRef


class Task(Message):
    """Run step `step` of `route` on one image, or on some of its tiles (how many: `muniflow.compute.bundles`)."""

    batch: str
    image: Annotated[int, Field(ge=0)]
    """The image's place in its batch."""
    source: str
    """Key of the encoded image in the source store."""
    stem: str
    """`<destination>/<stem>-<i>.<ext>` names the outputs."""
    destination: str
    encoding: Encoding
    decode: Decode = "exact"
    route: Route
    run: Annotated[int, Field(ge=0)] = 0
    """Grows by one each time the image is re-opened, so that events of an earlier run change nothing."""
    step: Annotated[int, Field(ge=0)] = 0
    tiles: tuple[Tile, ...] = ()
    """The input; none at the first step, which decodes `source`."""
    attempt: Annotated[int, Field(ge=1)] = 1
    published_at: float = 0.0
    """Unix time, seconds: when this task was published, for the wait in the queue."""

    @property
    def op(self) -> str:
        """The operation that this task wants."""
        return self.route[self.step].op

    @property
    def lineages(self) -> tuple[Lineage, ...]:
        """The parts of the image that it is about."""
        return tuple(tile.lineage for tile in self.tiles) or (WHOLE,)

    @property
    def input_px(self) -> int | None:
        """Pixels of its input; `None` where it must be decoded first."""
        return sum(tile.pixels.size_px for tile in self.tiles) or None

    def part_done(self, lineage: Lineage) -> "Settled":
        """A part of its image is done, and nothing is handed on of what this task was about."""
        direct = lineage == WHOLE and not self.tiles
        return Settled(batch=self.batch, image=self.image, run=self.run, lineage=lineage, direct=direct)

    def part_failed(self, lineage: Lineage, reason: str, step: int) -> "Settled":
        """A part of its image has failed for `reason` at `step`."""
        return Settled(batch=self.batch, image=self.image, run=self.run, lineage=lineage, reason=reason, step=step)

    def failed(self, reason: str) -> "tuple[Settled, ...]":
        """All that it is about has failed at its step."""
        return tuple(self.part_failed(lineage, reason, self.step) for lineage in self.lineages)


class Settled(BaseModel):
    """A part of an image has reached its end: all outputs of it are stored, or a step failed for good."""

    model_config: ClassVar[ConfigDict] = OPEN

    batch: str
    image: int
    run: int = 0
    lineage: tuple[Pair, ...] = WHOLE
    reason: str | None = None
    """Why it failed, for a person; `None`: done."""
    step: int = 0
    """The step that failed, as an index into the route."""
    direct: bool = False
    """A whole image that one process took from its source to its outputs: it left no intermediates to remove."""


class Tally(BaseModel):
    """What a worker did for one step of one batch since its last report. Advisory: a redelivery counts again."""

    model_config: ClassVar[ConfigDict] = OPEN

    batch: str
    step: int
    done: int = 0
    failed: int = 0
    retried: int = 0
    """Tasks that wait in a delay queue because a part is away."""
    waiting_for: str | None = None
    """That part, and what is wrong with it."""
    pixels: int = 0
    compute_s: float = 0.0


class Events(Message):
    """What a worker tells the coordinator about one group of tasks."""

    settled: tuple[Settled, ...] = ()
    tallies: tuple[Tally, ...] = ()
    published_at: float = 0.0
    """Unix time, seconds: when this was published, for the lag of the coordinator; 0: not known."""


class Command(Message):
    """What a person asks of the coordinator about a batch that it knows."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    action: Literal["cancel", "reopen"]
    """`reopen` runs failed images again from their source, and nothing else."""
    batch: str
    image: int | None = None
    """For `reopen`: one image; `None` means every failed image of the batch."""


class Notice(Message):
    """A change in the life of a batch; its routing key is `batch.<state>`, but `batch.accepted` for a new batch."""

    batch: str
    state: BatchState
    municipality: str = ""
    total: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    report: str | None = None
    """Key of `report.json` in the output store."""
    faults: tuple[dict[str, str], ...] = ()
    """For `rejected`: every fault as `{"place": …, "problem": …}`."""
    message_id: str | None = None
    """The AMQP `message_id` of the submission that this answers, for `rejected` and the first notice of a batch."""
    at: float = 0.0
    """Unix time, seconds."""


def output_name(stem: str, index: int, encoding: Encoding) -> str:
    """`<stem>-<i>.<ext>`: the name of leaf number `index`, relative to the batch's destination."""
    return f"{stem}-{index}.{encoding.format}"


def leaf_count(route: Route) -> int:
    """How many outputs one image has at the end of this route."""
    leaves = 1
    for step in route:
        leaves *= step.fan_out
    return leaves


__all__ = [
    "BATCH_STATES",
    "IMAGE_FORMATS",
    "LOSSLESS",
    "TERMINAL",
    "UNFINISHED",
    "BatchState",
    "Command",
    "Decode",
    "Encoding",
    "Events",
    "ImageFormat",
    "ImageState",
    "Lineage",
    "Message",
    "Notice",
    "RawRef",
    "Route",
    "RouteStep",
    "Settled",
    "Tally",
    "Task",
    "Tile",
    "leaf_count",
    "output_name",
]
