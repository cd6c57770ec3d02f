"""`/v1/batches`: state, images and outputs of batches."""

from functools import partial
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from muniflow.errors import Fault, NotFound
from muniflow.model.api_failures import RejectionList
from muniflow.model.messages import TERMINAL, BatchState, Command, ImageState
from muniflow_gateway.auth import rooms
from muniflow_gateway.auth.access import Caller
from muniflow_gateway.blobs import CONTENT_TYPES, OUTPUT_TYPES, send_image
from muniflow_gateway.dependencies import (
    AfterImage,
    Dependencies,
    DependenciesDep,
    ImageNumber,
    Limit,
    Operator,
    OwnBatch,
    Reader,
    binary,
    problems,
)
from muniflow_gateway.problems import Problem, invalid
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
    rejected_view,
)
from muniflow_gateway.streaming import StreamedAnswer

router = APIRouter(prefix="/v1/batches", tags=["batches"])
IMAGES = binary(*CONTENT_TYPES.values())
OUTPUTS = binary(*OUTPUT_TYPES)
ARCHIVED = "the batch is archived: its failed images cannot be run again; send it once more with `again`"


@router.get("", operation_id="listBatches", summary="List batches, newest first", responses=problems())
async def list_batches(
    deps: DependenciesDep,
    caller: Reader,
    *,
    state: Annotated[BatchState | None, Query(description="Only batches in this state.")] = None,
    municipality: Annotated[str | None, Query(max_length=200, description="Only batches of this one.")] = None,
    owner: Annotated[
        str | None, Query(max_length=80, description="Only batches of this one; yours by default.")
    ] = None,
    after: Annotated[str | None, Query(pattern="^[0-9]{1,15}$", description="`next` of the page before.")] = None,
    limit: Limit = 50,
) -> BatchPage:
    """A page of your batches, of all owners with the scope `admin`; also those that are still being read.

    Rejected ones, kept for 30 days, come with `state=rejected`; the first page of batches of any state has those that
    are newer than its last batch.
    """
    if owner is not None and not caller.sees(owner):
        return BatchPage(batches=[])
    whose = owner or caller.sees_only
    if state == "rejected":
        refused = await deps.coordinator.rejections(owner=whose, municipality=municipality, after=after, limit=limit)
        return BatchPage(batches=_rejected(refused, caller), next=refused.next)
    page = await deps.coordinator.batches(state=state, municipality=municipality, owner=whose, after=after, limit=limit)
    views = [batch_view(status) for status in page.batches if caller.sees(status.owner)]
    if state is None and after is None:
        refused = await deps.coordinator.rejections(owner=whose, municipality=municipality, limit=limit)
        oldest = page.batches[-1].submitted_at if page.next is not None else 0.0
        views += [each for each in _rejected(refused, caller) if each.submitted_at >= oldest]
        views.sort(key=lambda view: -view.submitted_at)
    return BatchPage(batches=views, next=page.next)


def _rejected(page: RejectionList, caller: Caller) -> list[BatchView]:
    return [rejected_view(each) for each in page.rejections if caller.sees(each.owner)]


@router.get("/{batch_id}", operation_id="getBatch", summary="Look at a batch", responses=problems(404))
async def get_batch(
    request: Request,
    batch_id: OwnBatch,
    deps: DependenciesDep,
    caller: Reader,
    wait: Annotated[float, Query(ge=0, le=3600, description="Seconds to wait for its end at most; 0: answer now.")] = 0,
) -> BatchView:
    """State, progress, counts of each step, rate and ETA.

    With `wait` of a batch that runs, the answer comes when it ends, or after that time (300 s at most) with the batch
    as it is then: look at `state`, and ask again.
    """
    if not wait:
        return await deps.follower.now(batch_id, caller.sees_only)
    slots = deps.access.slots
    slots.leave(request.scope)  # those that only wait are counted by themselves: a key has hundreds
    slots.take_room(request.scope, rooms.waiting(deps.settings), caller.identity)
    longest_s = min(wait, deps.settings.max_wait_s)
    return await deps.follower.wait(batch_id, longest_s, partial(deps.given_up, request), caller.sees_only)


@router.get("/{batch_id}/images", operation_id="listImages", summary="List its images", responses=problems(404))
async def list_images(
    batch_id: OwnBatch,
    deps: DependenciesDep,
    _caller: Reader,
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
async def get_source(batch_id: OwnBatch, number: ImageNumber, deps: DependenciesDep, _caller: Reader) -> Response:
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
    batch_id: OwnBatch, number: ImageNumber, index: ImageNumber, deps: DependenciesDep, _caller: Reader
) -> Response:
    """One output of an image, by its place in split order."""
    image = await deps.coordinator.image(batch_id, number)
    if index >= len(image.outputs):
        raise NotFound(f"image {number} has {len(image.outputs)} outputs; it is {image.state}")
    return await send_image(deps.output, image.outputs[index])


@router.get("/{batch_id}/outputs", operation_id="listOutputs", summary="List its outputs", responses=problems(404))
async def list_outputs(
    batch_id: OwnBatch,
    deps: DependenciesDep,
    _caller: Reader,
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
    responses={200: {"description": "The ZIP.", "content": binary("application/zip")}, **problems(404)},
)
async def get_archive(batch_id: OwnBatch, deps: DependenciesDep, caller: Reader) -> Response:
    """All outputs there are now, streamed: of a batch that still runs, those done so far."""
    view = batch_view(await deps.coordinator.batch(batch_id))
    deps.audit.did("download", batch=batch_id, owner=view.owner, by=caller.name, origin=caller.origin)
    headers = {"Content-Disposition": f'attachment; filename="{batch_id}.zip"', "X-Batch-State": view.state}
    return StreamedAnswer(archive_of(deps, view), media_type="application/zip", headers=headers)


@router.delete(
    "/{batch_id}",
    operation_id="cancelBatch",
    summary="Cancel it, or erase it",
    responses={
        200: {"description": "It had come to its end already; nothing is changed."},
        202: {"description": "It is being cancelled (what runs finishes, nothing more begins), or erased."},
        **problems(404, 409),
    },
)
async def cancel(
    batch_id: OwnBatch,
    deps: DependenciesDep,
    caller: Operator,
    response: Response,
    *,
    erase: Annotated[bool, Query(description="Remove every byte of it; one that runs is cancelled first.")] = False,
    image: Annotated[
        int | None, Query(ge=0, le=2**31 - 1, description="With `erase`: only this image of a batch that has ended.")
    ] = None,
) -> BatchView:
    """Cancel a batch, whose finished outputs stay; with `erase`, remove it from stores and ledger for good.

    It is erased once it answers 404; the audit trail then says what was removed.
    """
    view = await deps.follower.now(batch_id, caller.sees_only)
    if erase:
        await _erase(deps, caller, view, image)
        response.status_code = HTTPStatus.ACCEPTED
    elif image is not None:
        raise invalid([Fault("image", "only together with `erase=true`: one image cannot be cancelled")])
    elif view.state not in TERMINAL:
        await deps.uploads.command(Command(action="cancel", batch=batch_id), caller, view.owner)
        response.status_code = HTTPStatus.ACCEPTED
    return view


async def _erase(deps: Dependencies, caller: Caller, view: BatchView, image: int | None) -> None:
    if image is not None:
        await deps.coordinator.image(view.batch_id, image)  # 404 where there is none
        if view.state not in TERMINAL:
            text = f"the batch is {view.state}: an image is erased once it has ended; cancel it, or erase all of it"
            raise Problem(HTTPStatus.CONFLICT, text)
    await deps.uploads.command(Command(action="erase", batch=view.batch_id, image=image), caller, view.owner)
    if image is None:
        deps.notices.forget(view.batch_id)


class ReplayRequest(BaseModel):
    """Which images to run again."""

    model_config = ConfigDict(extra="forbid", strict=True)

    image: int | None = Field(None, ge=0, le=2**31 - 1, description="One image; left out, every failed one.")
    reason_code: str | None = Field(None, max_length=80, description="Only images that failed for this reason.")


@router.post(
    "/{batch_id}/replay",
    operation_id="replayFailed",
    summary="Run its failed images again",
    status_code=HTTPStatus.ACCEPTED,
    responses=problems(400, 404, 409, 413),
)
async def replay(
    batch_id: OwnBatch,
    deps: DependenciesDep,
    caller: Operator,
    wanted: Annotated[ReplayRequest | None, Body()] = None,
) -> ReplayView:
    """Failed images run again from their source, and nothing else. A batch at its end becomes `running` again."""
    image = wanted.image if wanted else None
    status = await deps.coordinator.batch(batch_id)
    if status.archived_at is not None:
        raise Problem(HTTPStatus.CONFLICT, ARCHIVED)
    failed = status.failed
    if image is not None:
        found = await deps.coordinator.image(batch_id, image)
        failed = int(found.state == "failed")
    code = wanted.reason_code if wanted else None
    if code is not None:
        groups = (await deps.coordinator.failure_counts(batch=batch_id)).groups
        failed = min(failed, sum(group.images for group in groups if group.reason_code == code))
    if not failed:
        raise Problem(HTTPStatus.CONFLICT, "nothing to replay: no such image has failed")
    with deps.notices.listening(batch_id) as subscription:
        await deps.uploads.command(
            Command(action="reopen", batch=batch_id, image=image, reason_code=code), caller, status.owner
        )
        if status.state in TERMINAL:  # so that whoever looks next does not see the old end
            await subscription.first(deps.settings.answer_s)
    return ReplayView(batch_id=batch_id, images=failed)
