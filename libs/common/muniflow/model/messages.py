"""The messages that travel over the broker: small, versioned, frozen JSON. Pixels never travel in one.

| model | queue | from → to |
| --- | --- | --- |
| a batch document (`muniflow.model.batch`) | `muniflow.batches` | user → coordinator |
| `Task` | `muniflow.step.<op>` | coordinator or step worker → step worker |
| `Events` | `muniflow.events` | step worker → coordinator |
| `Command` | `muniflow.control` | command line, gateway → coordinator |
| `Notice` | exchange `muniflow.notify` | coordinator → anybody |
"""

from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field

from muniflow.model.checksums import Digest, ImageSums
from muniflow.model.command import Command
from muniflow.model.encoding import IMAGE_FORMATS, LOSSLESS, WITH_ALPHA, Encoding, ImageFormat
from muniflow.model.grant import Grant
from muniflow.model.lineage import WHOLE, Lineage
from muniflow.model.owners import DEFAULT_OWNER
from muniflow.model.pixels import Pair, RawRef, Tile
from muniflow.model.rendering import Rendering
from muniflow.model.tally import Tally, TaskSums
from muniflow.model.wire import OPEN, Message, Since
from muniflow.reason_codes import ReasonCode

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


class Task(Message):
    """Run step `step` of `route` on one image, or on some of its tiles (how many: `muniflow.model.bundles`)."""

    understands: ClassVar[int] = 2

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
    rendering: Annotated[Rendering | None, Since(2)] = None
    """What the batch chose of colours; `None`: everything by default."""
    route: Route
    run: Annotated[int, Field(ge=0)] = 0
    """Grows by one each time the image is re-opened, so that events of an earlier run change nothing."""
    step: Annotated[int, Field(ge=0)] = 0
    tiles: tuple[Tile, ...] = ()
    """The input; none at the first step, which decodes `source`."""
    profile: Annotated[str | None, Since(2)] = None
    """Key, in the work store, of the ICC profile that outputs carry."""
    metadata: Annotated[str | None, Since(2)] = None
    """Key, in the work store, of what outputs keep of the metadata of the source."""
    checksums: Literal[True] | None = None
    """Whether what is read and written is hashed for the report."""
    source_sha256: Digest | None = None
    """Of `source`, from the process that decoded it."""
    source_px: Annotated[int, Field(ge=1)] | None = None
    """Pixels of `source`, from the process that decoded it; steps hold what they make against them."""
    grant: Grant | None = None
    """That the coordinator made it so; `None`: an earlier build made it or passed it on, or there are no keys."""
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

    @property
    def mark(self) -> str:
        """A part of the names of intermediates, for which one must have a task of the batch; empty: not signed."""
        return "" if self.grant is None else self.grant.mark

    def part_done(self, lineage: Lineage, outputs_sha256: tuple[str, ...] | None = None) -> "Settled":
        """A part of its image is done, and nothing is handed on of what this task was about."""
        return Settled(
            batch=self.batch,
            image=self.image,
            run=self.run,
            lineage=lineage,
            direct=lineage == WHOLE and not self.tiles,
            source_sha256=self.source_sha256,
            outputs_sha256=outputs_sha256,
        )

    def part_failed(self, lineage: Lineage, reason: str, step: int, code: ReasonCode) -> "Settled":
        """A part of its image has failed for `reason` at `step`."""
        image = (self.batch, self.image, self.run)
        return Settled.failure(*image, lineage=lineage, reason=reason, step=step, code=code)

    def failed(self, reason: str, code: ReasonCode, *, input_gone: bool = False) -> "tuple[Settled, ...]":
        """All that it is about has failed at its step."""
        failed = (self.part_failed(lineage, reason, self.step, code) for lineage in self.lineages)
        return tuple(part.model_copy(update={"input_gone": True}) if input_gone else part for part in failed)


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
    code: str | None = None
    """Why it failed, for a program: one of `muniflow.reason_codes`, perhaps of a later build. `None`: done, or a worker
    of an earlier build."""
    input_gone: bool | None = None
    """`True`: it failed because its intermediate is not there, or not whole: a late copy of a task, or the work store
    lost it (intermediates are not synced). An image that is still open begins again from its source."""
    source_sha256: Digest | None = None
    outputs_sha256: tuple[Digest, ...] | None = None
    """Of the outputs of this part, in split order. `None`, like the source's: it failed, the batch wants none, or a
    worker of an earlier build took part."""
    metadata: tuple[str, ...] | None = None
    """What its outputs keep of the metadata of the source. `None`: it failed, the batch keeps none, or an earlier
    build."""

    @property
    def sums(self) -> ImageSums | None:
        """Both, where they are known."""
        return None if self.source_sha256 is None else ImageSums(self.source_sha256, self.outputs_sha256 or ())

    @classmethod
    def failure(
        cls, batch: str, image: int, run: int, *, reason: str, code: ReasonCode, step: int = 0, lineage: Lineage = WHOLE
    ) -> Self:
        """A part of an image that has failed: the one place that makes such events, so each has its code."""
        return cls(batch=batch, image=image, run=run, lineage=lineage, reason=reason, step=step, code=code)


class Events(Message):
    """What a worker tells the coordinator about one group of tasks."""

    settled: tuple[Settled, ...] = ()
    tallies: tuple[Tally, ...] = ()
    published_at: float = 0.0
    """Unix time, seconds: when this was published, for the lag of the coordinator; 0: not known."""


class Notice(Message):
    """A change in the life of a batch; its routing key is that of `muniflow.model.topology.notice_key`."""

    batch: str
    state: BatchState
    owner: str = DEFAULT_OWNER
    """Who sent the batch."""
    name: str | None = None
    """What people call it."""
    municipality: str = ""
    total: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    skipped: int | None = None
    """Files below its `source` that are no images; the report names them."""
    skipped_reasons: dict[str, int] | None = None
    """Their number by reason."""
    replaced: int | None = None
    """Outputs of an earlier run that were removed from its destination."""
    report: str | None = None
    """Key of `report.json` in the output store."""
    faults: tuple[dict[str, str], ...] = ()
    """For `rejected`: every fault as `{"place": …, "problem": …}`."""
    deadline_at: float | None = None
    """When it should have ended, where its document says so; unix time, seconds."""
    feasible: bool | None = None
    """Whether it can end by then with `max` replicas in every stage; `None`: not known."""
    earliest_at: float | None = None
    """When it could end with these; unix time, seconds."""
    revision: int | None = None
    """Which run of the batch this is, from 2 on."""
    kept: int | None = None
    """Images that had not changed since the last run, and were not run."""
    gone: int | None = None
    """Sources of the last run that the batch no longer has."""
    already_run_at: float | None = None
    """In an answer to a batch that had ended before it was sent: when it ended, unix time; nothing was run anew."""
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
    "WITH_ALPHA",
    "BatchState",
    "Command",
    "Decode",
    "Encoding",
    "Events",
    "Grant",
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
    "TaskSums",
    "Tile",
    "leaf_count",
    "output_name",
]
