"""What the coordinator's read-only HTTP interface answers; the command line and the gateway read it with these models.

| path | answer |
| --- | --- |
| `/v1/info` | `Info` |
| `/v1/batches?state=&municipality=&after=&limit=` | `BatchList`, newest first |
| `/v1/batches/<id>` | `BatchStatus`; 404 when it is not known |
| `/v1/batches/<id>/images?state=&after=&limit=` | `ImageList`, by number |
| `/v1/stages` | `StageList` |
"""

from typing import Any, ClassVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict

from muniflow.model.messages import BatchState, ImageState

INFO = "/v1/info"
BATCHES = "/v1/batches"
STAGES = "/v1/stages"


def batch_path(batch_id: str) -> str:
    """The path of a batch, whatever is in its id."""
    return f"{BATCHES}/{quote(batch_id, safe='')}"


def images_path(batch_id: str) -> str:
    """The path of the images of a batch."""
    return f"{batch_path(batch_id)}/images"


def query_of(**values: str | int | None) -> dict[str, str]:
    """The parameters of a request; those that are `None` are left out."""
    return {name: str(value) for name, value in values.items() if value is not None}


class Answer(BaseModel):
    """Base of all answers. Unknown fields are ignored, so that an older client reads a newer coordinator."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)


class StepProgress(Answer):
    """One step of one batch."""

    op: str
    expected: int
    """Tasks that this step has when every image is done."""
    done: int = 0
    """Advisory: a redelivered task counts again; never above `expected`."""
    failed: int = 0
    pixels: int = 0
    compute_s: float = 0.0


class BatchStatus(Answer):
    """A batch now."""

    batch_id: str
    municipality: str = ""
    state: BatchState
    destination: str
    total: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    in_flight: int = 0
    """Images dispatched and not settled."""
    waiting_for: str | None = None
    """What holds it up, if something does: `broker: memory alarm`, `no consumer: blur`."""
    steps: tuple[StepProgress, ...] = ()
    operations: tuple[dict[str, Any], ...] = ()
    """The route, each step in its long form: `{"op": "resize", "width": 200, …}`."""
    output: dict[str, Any] = {}
    """How outputs are encoded: `{"format": "jpg"}`."""
    outputs_per_image: int = 1
    rate_images_per_s: float | None = None
    eta_s: float | None = None
    submitted_at: float = 0.0
    finished_at: float | None = None
    report: str | None = None


class BatchList(Answer):
    """A page of batches."""

    batches: tuple[BatchStatus, ...]
    next: str | None = None
    """Give it as `after` for the next page."""


class ImageStatus(Answer):
    """An image of a batch."""

    image: int
    source: str
    state: ImageState
    reasons: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    """Keys in the output store, when it is done."""


class ImageList(Answer):
    """A page of images."""

    images: tuple[ImageStatus, ...]
    next: int | None = None


class Stage(Answer):
    """One operation's stage."""

    op: str
    queue: str
    ready: int | None = None
    unacked: int | None = None
    consumers: int | None = None
    dead: int | None = None
    """Dead letters kept."""
    rate_tasks_per_s: float | None = None
    service_s: float | None = None
    """Mean compute time of a task."""
    drain_s: float | None = None
    """Time until the backlog is gone at this rate."""


class StageList(Answer):
    """All stages."""

    stages: tuple[Stage, ...]


class Info(Answer):
    """The coordinator itself."""

    version: str
    operations: tuple[str, ...]
    connected: bool
    blocked: str | None = None
    leader: bool = True
