"""`/v1/batches`: what became of what was handed in."""

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from muniflow.errors import NotFound
from muniflow.model.messages import TERMINAL, BatchState, Command, ImageState
from muniflow_gateway.blobs import CONTENT_TYPES, JSON, OUTPUT_TYPES, send_image, send_report
from muniflow_gateway.dependencies import (
    AfterImage,
    BatchId,
    CallerDep,
    Dependencies,
    DependenciesDep,
    ImageNumber,
    Limit,
    problems,
)
from muniflow_gateway.problems import RETRY_S, Problem
from muniflow_gateway.routes.upload import archive_of
from muniflow_gateway.schemas import (
    BatchPage,
    BatchView,
    ImagePage,
    OutputPage,
    ReplayView,
    batch_view,
    image_view,
    output_views,
)

router = APIRouter(prefix="/v1/batches", tags=["batches"])
BINARY = {"schema": {"type": "string", "format": "binary"}}
IMAGES = dict.fromkeys(CONTENT_TYPES.values(), BINARY)
OUTPUTS = dict.fromkeys(OUTPUT_TYPES, BINARY)


@router.get("", operation_id="listBatches", summary="List batches, newest first", responses=problems())
async def list_batches(
    deps: DependenciesDep,
    _caller: CallerDep,
    state: Annotated[BatchState | None, Query(description="Only batches in this state.")] = None,
    municipality: Annotated[str | None, Query(max_length=200, description="Only batches of this one.")] = None,
    after: Annotated[str | None, Query(pattern="^[0-9]{1,15}$", description="`next` of the page before.")] = None,
    limit: Limit = 50,
) -> BatchPage:
    """A page of batches. Those that are being read in are among them; those refused are not."""
    page = await deps.coordinator.batches(state=state, municipality=municipality, after=after, limit=limit)
    return BatchPage(batches=[batch_view(status) for status in page.batches], next=page.next)


@router.get("/{batch_id}", operation_id="getBatch", summary="Look at a batch", responses=problems(404))
async def get_batch(batch_id: BatchId, deps: DependenciesDep, _caller: CallerDep) -> BatchView:
    """State, progress, counts of each step, rate and ETA."""
    return await deps.follower.now(batch_id)


@router.get("/{batch_id}/images", operation_id="listImages", summary="List its images", responses=problems(404))
async def list_images(
    batch_id: BatchId,
    deps: DependenciesDep,
    _caller: CallerDep,
    state: Annotated[ImageState | None, Query(description="Only images in this state.")] = None,
    after: AfterImage = None,
    limit: Limit = 100,
) -> ImagePage:
    """A page of images by number, each with its outputs or with the reasons why it failed."""
    page = await deps.follower.images(batch_id, state=state, after=after, limit=limit)
    return ImagePage(images=[image_view(batch_id, image) for image in page.images], next=page.next)


@router.get(
    "/{batch_id}/images/{number}/source",
    operation_id="getSource",
    summary="Get an image as it was sent",
    response_class=Response,
    responses={200: {"description": "The image.", "content": IMAGES}, **problems(404)},
)
async def get_source(batch_id: BatchId, number: ImageNumber, deps: DependenciesDep, _caller: CallerDep) -> Response:
    """The source image; its content type is told from its bytes, whatever its name. What is no image is not sent."""
    image = await deps.coordinator.image(batch_id, number)
    return await send_image(deps.source, image.source)


@router.get(
    "/{batch_id}/images/{number}/outputs/{index}",
    operation_id="getOutput",
    summary="Get an output",
    response_class=Response,
    responses={200: {"description": "The output.", "content": OUTPUTS}, **problems(404)},
)
async def get_output(
    batch_id: BatchId, number: ImageNumber, index: ImageNumber, deps: DependenciesDep, _caller: CallerDep
) -> Response:
    """One output of an image, by its place in split order."""
    image = await deps.coordinator.image(batch_id, number)
    if index >= len(image.outputs):
        raise NotFound(f"image {number} has {len(image.outputs)} outputs; it is {image.state}")
    return await send_image(deps.output, image.outputs[index])


@router.get("/{batch_id}/outputs", operation_id="listOutputs", summary="List its outputs", responses=problems(404))
async def list_outputs(
    batch_id: BatchId,
    deps: DependenciesDep,
    _caller: CallerDep,
    after: AfterImage = None,
    limit: Annotated[int, Query(ge=1, le=500, description="Images whose outputs make a page.")] = 100,
) -> OutputPage:
    """The outputs of a page of images that are done."""
    page = await deps.follower.images(batch_id, state="done", after=after, limit=limit)
    return OutputPage(outputs=[view for image in page.images for view in output_views(batch_id, image)], next=page.next)


@router.get(
    "/{batch_id}/outputs.zip",
    operation_id="getArchive",
    summary="Get all its outputs as a ZIP",
    response_class=Response,
    responses={200: {"description": "The ZIP.", "content": {"application/zip": BINARY}}, **problems(404)},
)
async def get_archive(batch_id: BatchId, deps: DependenciesDep, _caller: CallerDep) -> Response:
    """All outputs there are now, streamed: of a batch that still runs, those done so far."""
    view = batch_view(await deps.coordinator.batch(batch_id))
    headers = {"Content-Disposition": f'attachment; filename="{batch_id}.zip"', "X-Batch-State": view.state}
    return StreamingResponse(archive_of(deps, view), media_type="application/zip", headers=headers)


@router.get(
    "/{batch_id}/report",
    operation_id="getReport",
    summary="Get its report",
    response_class=Response,
    responses={
        200: {"description": "The report.", "content": {JSON: {"schema": {"type": "object"}}}},
        **problems(404),
    },
)
async def get_report(batch_id: BatchId, deps: DependenciesDep, _caller: CallerDep) -> Response:
    """`report.json`: every image with its state, outputs or reasons, totals and times. There is none before the end."""
    status = await deps.coordinator.batch(batch_id)
    if status.report is None:
        raise NotFound(f"the batch is {status.state}: its report is written at its end")
    return await send_report(deps.output, status.report)


@router.delete(
    "/{batch_id}",
    operation_id="cancelBatch",
    summary="Cancel it",
    responses={
        200: {"description": "It had come to its end already; nothing is changed."},
        202: {"description": "It is being cancelled: what runs finishes, nothing more begins.", "model": BatchView},
        **problems(404),
    },
)
async def cancel(batch_id: BatchId, deps: DependenciesDep, _caller: CallerDep, response: Response) -> BatchView:
    """Cancel a batch. Its finished outputs stay."""
    view = await deps.follower.now(batch_id)
    if view.state not in TERMINAL:
        await deps.uploads.command(Command(action="cancel", batch=batch_id))
        response.status_code = HTTPStatus.ACCEPTED
    return view


class ReplayRequest(BaseModel):
    """Which images to run again."""

    model_config = ConfigDict(extra="forbid")

    image: int | None = Field(None, ge=0, le=2**31 - 1, description="One image; left out, every failed one.")


@router.post(
    "/{batch_id}/replay",
    operation_id="replayFailed",
    summary="Run its failed images again",
    status_code=HTTPStatus.ACCEPTED,
    responses=problems(400, 404, 409, 413),
)
async def replay(
    batch_id: BatchId,
    deps: DependenciesDep,
    _caller: CallerDep,
    wanted: Annotated[ReplayRequest | None, Body()] = None,
) -> ReplayView:
    """Failed images run again from their source, and nothing else. A batch at its end becomes `running` again."""
    image = wanted.image if wanted else None
    status = await deps.coordinator.batch(batch_id)
    failed = status.failed
    if image is not None:
        found = await deps.coordinator.image(batch_id, image)
        failed = int(found.state == "failed")
    if not failed:
        raise Problem(HTTPStatus.CONFLICT, "nothing to replay: no such image has failed")
    with deps.notices.listening(batch_id) as subscription:
        await deps.uploads.command(Command(action="reopen", batch=batch_id, image=image))
        if status.state in TERMINAL:  # so that whoever looks next does not see the old end
            await subscription.first(deps.settings.answer_s)
    return ReplayView(batch_id=batch_id, images=failed)


EVENTS: dict[str, Any] = {
    "text/event-stream": {
        "schema": {"type": "string"},
        "example": 'event: progress\ndata: {"batch_id": "…", "state": "running", "done": 45, …}\n\n',
    }
}


@router.get(
    "/{batch_id}/events",
    operation_id="followBatch",
    summary="Follow it as server-sent events",
    response_class=Response,
    responses={
        200: {"description": "`progress` with the batch at each change, `end` at its end.", "content": EVENTS},
        **problems(404),
    },
)
async def events(batch_id: BatchId, deps: DependenciesDep, _caller: CallerDep) -> Response:
    """The stream ends with the batch."""
    await deps.follower.now(batch_id)  # 404 before the stream begins
    if deps.streams >= deps.settings.max_streams:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "too many event streams are open", retry_after_s=RETRY_S)
    return StreamingResponse(_stream(deps, batch_id), media_type="text/event-stream")


async def _stream(deps: Dependencies, batch_id: str) -> AsyncIterator[bytes]:
    deps.streams += 1
    try:
        async for event in deps.follower.events(batch_id, deps.stopping):
            yield event
    finally:
        deps.streams -= 1
