"""What the API answers: the coordinator's answers with addresses added. Models for the OpenAPI document, too."""

from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field

from muniflow.model.api import BatchStatus, ImageStatus
from muniflow.model.api_failures import Rejection
from muniflow.model.messages import IMAGE_FORMATS, LOSSLESS, TERMINAL, WITH_ALPHA, ImageFormat, ImageState
from muniflow.model.operation import Operation
from muniflow_gateway.problems import FaultBody

VIEW_EXAMPLE: dict[str, Any] = {
    "batch_id": "20261122-093015-3f9c2a1b",
    "name": "Canal houses, spring",
    "owner": "utrecht",
    "municipality": "Utrecht",
    "state": "running",
    "revision": 1,
    "kept": 0,
    "gone": 0,
    "destination": "20261122-093015-3f9c2a1b",
    "total": 120,
    "done": 45,
    "failed": 1,
    "cancelled": 0,
    "skipped": 2,
    "skipped_reasons": {"a link; links are not followed (a bind mount is)": 1, "a BMP, which is not decoded": 1},
    "in_flight": 32,
    "waiting_for": None,
    "steps": [{"op": "resize", "expected": 120, "done": 60, "failed": 1, "pixels": 480000000, "compute_s": 3.2}],
    "operations": [{"op": "resize", "percent": 50.0, "fit": "exact"}],
    "output": {"format": "jpg"},
    "outputs_per_image": 1,
    "rate_images_per_s": 21.5,
    "eta_s": 3.4,
    "eta_at": 1795339822.1,
    "eta_reason": None,
    "forecast_p50_at": 1795339820.9,
    "forecast_p90_at": 1795339824.3,
    "priority": "normal",
    "deadline_at": 1795343400.0,
    "feasible": True,
    "earliest_at": 1795339819.6,
    "submitted_at": 1795339815.2,
    "reopened_at": None,
    "finished_at": None,
    "archived_at": None,
    "report": None,
    "ended": False,
    "faults": [],
    "already_run_at": None,
    "links": {
        "self": "/v1/batches/20261122-093015-3f9c2a1b",
        "images": "/v1/batches/20261122-093015-3f9c2a1b/images",
        "outputs": "/v1/batches/20261122-093015-3f9c2a1b/outputs",
        "archive": "/v1/batches/20261122-093015-3f9c2a1b/outputs.zip",
        "report": "/v1/batches/20261122-093015-3f9c2a1b/report",
        "events": "/v1/batches/20261122-093015-3f9c2a1b/events",
        "static": "/static/20261122-093015-3f9c2a1b/",
    },
}


class BatchLinks(BaseModel):
    """Where to go from a batch."""

    self: str
    images: str
    outputs: str
    archive: str
    report: str
    events: str
    static: str


class BatchView(BatchStatus):
    """A batch now."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [VIEW_EXAMPLE]})

    ended: bool
    """Whether its state is a final one; a replay begins it again."""
    faults: tuple[FaultBody, ...] = ()
    """Why the coordinator refused it, for the state `rejected`."""
    already_run_at: float | None = None
    """In the answer to a batch that had ended before it was sent: when, Unix time; nothing was run anew."""
    links: BatchLinks


class BatchEvent(BaseModel):
    """A server-sent event: its `data` is the batch as JSON, in one line."""

    event: Literal["progress", "end"]
    data: BatchView


def rejected_view(rejection: Rejection) -> BatchView:
    """A refused batch with its faults."""
    status = BatchStatus(
        batch_id=rejection.batch_id,
        owner=rejection.owner,
        name=rejection.name,
        municipality=rejection.municipality,
        state="rejected",
        destination="",
        submitted_at=rejection.at,
        finished_at=rejection.at,
    )
    return batch_view(status, [FaultBody(**fault.model_dump()) for fault in rejection.faults])


class BatchPage(BaseModel):
    """A page of batches, newest first."""

    batches: list[BatchView]
    next: str | None = Field(None, description="Give it as `after` for the next page.")


class ImageView(BaseModel):
    """An image of a batch."""

    image: int = Field(description="Its place in the batch, from 0.")
    source: str = Field(description="Its key in the source store.")
    source_url: str
    state: ImageState
    reasons: list[str] = Field(description="Why it failed.")
    reason_code: str | None = Field(None, description="Why it failed, for programs: stable, where texts may change.")
    outputs: list[str] = Field(description="Keys in the output store, in split order, when it is done.")
    output_urls: list[str]


class ImagePage(BaseModel):
    """A page of images, by number."""

    images: list[ImageView]
    next: int | None = Field(None, description="Give it as `after` for the next page.")


class OutputView(BaseModel):
    """One output."""

    image: int
    index: int = Field(description="Its place in split order.")
    key: str
    url: str


class OutputPage(BaseModel):
    """The outputs of a page of images."""

    outputs: list[OutputView]
    next: int | None = Field(None, description="Give it as `after` for the next page.")


class OperationView(BaseModel):
    """An operation that batches may name."""

    name: str
    summary: str
    parameters: dict[str, Any] = Field(description="JSON Schema of the long form, without `op`.")
    examples: list[Any] = Field(description="Entries of `operations`, short and long forms.")


class FormatView(BaseModel):
    """A format of outputs."""

    name: ImageFormat
    takes_quality: bool
    has_alpha: bool


class OperationPage(BaseModel):
    """The operations that are installed, and the formats of outputs."""

    operations: list[OperationView]
    formats: list[FormatView] = [
        FormatView(name=name, takes_quality=name not in LOSSLESS, has_alpha=name in WITH_ALPHA)
        for name in IMAGE_FORMATS
    ]


class ReplayView(BaseModel):
    """A replay that was asked for."""

    batch_id: str
    images: int = Field(description="Failed images that run again.")


def path_of(batch_id: str) -> str:
    """The address of a batch."""
    return f"/v1/batches/{quote(batch_id, safe='')}"


def links_of(batch_id: str) -> BatchLinks:
    """Where to go from a batch."""
    path = path_of(batch_id)
    return BatchLinks(
        self=path,
        images=f"{path}/images",
        outputs=f"{path}/outputs",
        archive=f"{path}/outputs.zip",
        report=f"{path}/report",
        events=f"{path}/events",
        static=f"/static/{quote(batch_id, safe='')}/",
    )


def batch_view(status: BatchStatus, faults: Sequence[FaultBody] = ()) -> BatchView:
    """A batch with its addresses."""
    return BatchView(
        **status.model_dump(), ended=status.state in TERMINAL, faults=tuple(faults), links=links_of(status.batch_id)
    )


def image_view(batch_id: str, image: ImageStatus) -> ImageView:
    """An image with its addresses."""
    path = f"{path_of(batch_id)}/images/{image.image}"
    return ImageView(
        image=image.image,
        source=image.source,
        source_url=f"{path}/source",
        state=image.state,
        reasons=list(image.reasons),
        reason_code=image.reason_code,
        outputs=list(image.outputs),
        output_urls=[f"{path}/outputs/{index}" for index in range(len(image.outputs))],
    )


def output_views(batch_id: str, image: ImageStatus) -> list[OutputView]:
    """The outputs of an image."""
    seen = image_view(batch_id, image)
    pairs = zip(seen.outputs, seen.output_urls, strict=True)
    return [OutputView(image=image.image, index=index, key=key, url=url) for index, (key, url) in enumerate(pairs)]


def operation_view(operation: Operation) -> OperationView:
    """An operation with its schema."""
    return OperationView(
        name=operation.name,
        summary=operation.summary,
        parameters=operation.params.model_json_schema(),
        examples=list(operation.examples),
    )


class StagePlanView(BaseModel):
    """What a plan says of one stage."""

    stage: str
    work_s: float = Field(description="Compute time, whatever the replicas.")
    replicas: int
    bottleneck: bool = Field(description="Whether the batch waits for this stage.")


class OptionView(BaseModel):
    """One number of replicas for each stage, and what follows."""

    replicas: dict[str, int]
    p50_s: float | None = Field(description="As likely as not, it ends within so many seconds.")
    p90_s: float | None = Field(description="Nine times in ten.")
    cost: float | None


class FinishView(BaseModel):
    """When it ends."""

    p50_s: float
    p90_s: float
    p50_at: float = Field(description="Unix seconds.")
    p90_at: float
    graded: int = Field(description="Forecasts that were graded and that the range rests on.")
    calibrated: bool = Field(description="Whether those are enough; else the range is a wide guess.")


class PlanView(BaseModel):
    """What a batch would take."""

    images: int
    sampled: int = Field(description="Images whose sizes were looked at.")
    unreadable: int = Field(description="Of these, images that cannot be read.")
    stages: list[StagePlanView]
    finish: FinishView
    core_s: float
    cost: float | None = Field(description="In the currency of the prices; `null` without prices.")
    feasible: bool | None = Field(description="Whether the fastest plan meets the deadline; `null` without one.")
    earliest_s: float | None = Field(description="The fastest plan, with `max` replicas of the bottleneck.")
    frontier: list[OptionView] = Field(description="Plans that no other one beats in both time and cost.")
