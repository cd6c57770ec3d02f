"""What the API answers: the coordinator's answers with addresses added. Models for the OpenAPI document, too."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field

from muniflow.model.api import BatchStatus, ImageStatus
from muniflow.model.messages import IMAGE_FORMATS, LOSSLESS, TERMINAL, ImageFormat, ImageState
from muniflow.model.operation import Operation
from muniflow_gateway.problems import FaultBody

BATCH_EXAMPLE: dict[str, Any] = {
    "batch_id": "20261122-093015-3f9c2a1b",
    "municipality": "Utrecht",
    "state": "running",
    "destination": "20261122-093015-3f9c2a1b",
    "total": 120,
    "done": 45,
    "failed": 1,
    "cancelled": 0,
    "in_flight": 32,
    "waiting_for": None,
    "steps": [{"op": "resize", "expected": 120, "done": 60, "failed": 1, "pixels": 480000000, "compute_s": 3.2}],
    "operations": [{"op": "resize", "percent": 50.0, "fit": "exact"}],
    "output": {"format": "jpg"},
    "outputs_per_image": 1,
    "rate_images_per_s": 21.5,
    "eta_s": 3.4,
    "submitted_at": 1795339815.2,
    "finished_at": None,
    "report": None,
    "ended": False,
    "faults": [],
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

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [BATCH_EXAMPLE]})

    ended: bool
    """Whether its state is a final one; a replay begins it again."""
    faults: tuple[FaultBody, ...] = ()
    """Why the coordinator refused it, for the state `rejected`."""
    links: BatchLinks


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


class OperationPage(BaseModel):
    """The operations that are installed, and the formats of outputs."""

    operations: list[OperationView]
    formats: list[FormatView] = [FormatView(name=name, takes_quality=name not in LOSSLESS) for name in IMAGE_FORMATS]


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
