"""Handing in: `POST /process` as the predecessor had it, `POST /v1/batches`, and the synchronous `POST /v1/process`."""

from collections.abc import AsyncIterator
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import PlainTextResponse

from muniflow.errors import Fault, NotFound
from muniflow.model.messages import TERMINAL
from muniflow_gateway.archive import zip_chunks
from muniflow_gateway.blobs import OUTPUT_TYPES, send_image
from muniflow_gateway.dependencies import Dependencies, DependenciesDep, Submitter, binary, problems
from muniflow_gateway.problems import Problem
from muniflow_gateway.schemas import BatchView, path_of
from muniflow_gateway.streaming import StreamedAnswer
from muniflow_gateway.upload.budgets import refusal_of

router = APIRouter(tags=["submit"])
REFUSALS = problems(400, 408, 409, 413, 415)
LOCATION = {"description": "The batch.", "schema": {"type": "string"}}
BATCH_ID = {"description": "Its id.", "schema": {"type": "string"}}
HEADERS = {"Location": LOCATION, "X-Batch-Id": BATCH_ID}
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$",
        description="Sent again with the same key, the same request is the same batch.",
    ),
]

FORM: dict[str, Any] = {
    "schema": {
        "type": "object",
        "required": ["actions", "files"],
        "additionalProperties": False,
        "properties": {
            "actions": {"$ref": "#/components/schemas/Actions"},
            "files": {
                "type": "array",
                "minItems": 1,
                "items": {"type": "string", "format": "binary"},
                "description": "Images: JPEG, PNG, WebP, HEIC or AVIF. Their names are labels: they name the outputs.",
            },
        },
    },
    "encoding": {"actions": {"contentType": "application/json"}},
}
FORM_BODY = {"requestBody": {"required": True, "content": {"multipart/form-data": FORM}}}
EITHER_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/Batch"}},
            "multipart/form-data": FORM,
        },
    }
}


@router.post(
    "/process",
    operation_id="process",
    summary="Submit images, as the predecessor took them",
    response_class=PlainTextResponse,
    responses={
        200: {
            "description": "`OK`: the request is durable. With `Accept: application/json`, the batch.",
            "content": {
                "text/plain": {"schema": {"type": "string", "const": "OK"}},
                "application/json": {"schema": {"$ref": "#/components/schemas/BatchView"}},
            },
            "headers": HEADERS,
        },
        **REFUSALS,
    },
    openapi_extra=FORM_BODY,
)
async def process(request: Request, deps: DependenciesDep, caller: Submitter, _key: IdempotencyKey = None) -> Response:
    """Send `actions` (JSON) and one or more `files`. The answer is exactly `OK` once the request is durable.

    Results and the images sent are under `/static/<batch id>/`; the headers `Location` and `X-Batch-Id` name the batch.
    """
    batch_id = await deps.uploads.take_form(request, caller)
    if "application/json" in request.headers.get("accept", ""):
        return _batch_answer(await deps.follower.now(batch_id, caller.sees_only), HTTPStatus.OK)
    return PlainTextResponse("OK", headers=_headers(batch_id))


@router.post(
    "/v1/batches",
    operation_id="submitBatch",
    summary="Submit a batch",
    status_code=HTTPStatus.ACCEPTED,
    response_model=BatchView,
    responses={202: {"description": "The batch is durable and will be run.", "headers": HEADERS}, **REFUSALS},
    openapi_extra=EITHER_BODY,
)
async def submit(request: Request, deps: DependenciesDep, caller: Submitter, _key: IdempotencyKey = None) -> Response:
    """Send a form with images, or JSON that names images in the source store.

    202 says that it is durable. The same `batch_id`, or the same `Idempotency-Key`, is the same batch: never run twice;
    `already_run_at` says when it had ended.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().casefold()
    if kind == "application/json":
        batch_id, already_run_at = await deps.uploads.take_document(request, caller)
    elif kind == "multipart/form-data":
        batch_id, already_run_at = await deps.uploads.take_form(request, caller), None
    else:
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json or multipart/form-data")
    try:
        await deps.follower.require_seen(batch_id, caller.sees_only)
    except NotFound:  # the coordinator has not answered yet, and will refuse it
        raise Problem(HTTPStatus.CONFLICT, f"{batch_id} is taken; choose another `batch_id`") from None
    view = await deps.follower.now(batch_id, caller.sees_only)
    if view.state == "rejected":  # meanwhile
        raise _refusal(view, HTTPStatus.CONFLICT)
    return _batch_answer(view.model_copy(update={"already_run_at": already_run_at}), HTTPStatus.ACCEPTED)


@router.post(
    "/v1/process",
    operation_id="processNow",
    summary="Submit images and wait for the result",
    response_class=Response,
    responses={
        200: {
            "description": "The result: one output as an image, several as a ZIP.",
            "content": binary(*OUTPUT_TYPES, "application/zip"),
            "headers": HEADERS,
        },
        207: {
            "description": "A part of it: some images failed. A ZIP of the other outputs, and `report.json`.",
            "content": binary("application/zip"),
            "headers": HEADERS,
        },
        202: {
            "description": "Not finished in time; follow the batch.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/BatchView"}}},
            "headers": HEADERS,
        },
        **REFUSALS,
    },
    openapi_extra=FORM_BODY,
)
async def process_now(
    request: Request,
    deps: DependenciesDep,
    caller: Submitter,
    wait: Annotated[float, Query(ge=0, le=3600, description="Longest wait in seconds.")] = 30.0,
    _key: IdempotencyKey = None,
) -> Response:
    """For a person in a hurry: the answer is the result itself, or 202 with the batch when time runs out.

    When some images failed, the answer is 207: a ZIP with the others and `report.json`, and `X-Batch-State` says
    `partial`; when all did, 422 says why.
    """
    batch_id = await deps.uploads.take_form(request, caller)
    longest_s = min(wait, deps.settings.max_wait_s)
    view = await deps.follower.wait(batch_id, longest_s, partial(deps.given_up, request), caller.sees_only)
    if view.state not in TERMINAL:
        return _batch_answer(view, HTTPStatus.ACCEPTED)
    return await _result(deps, view)


async def _result(deps: Dependencies, view: BatchView) -> Response:
    headers = {**_headers(view.batch_id), "X-Batch-State": view.state}
    if view.state == "rejected":
        problem = _refusal(view, HTTPStatus.UNPROCESSABLE_ENTITY)
        problem.headers.update(headers)
        raise problem
    if not view.done:
        page = await deps.coordinator.images(view.batch_id, state="failed", limit=50)
        faults = [Fault(image.source.rpartition("/")[2], "; ".join(image.reasons)) for image in page.images]
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"the batch is {view.state}", faults, headers=headers)
    if view.total == 1 and view.outputs_per_image == 1:
        keys = [key async for key in deps.follower.output_keys(view.batch_id)]
        answer = await send_image(deps.output, keys[0])
        answer.headers.update(headers)
        return answer
    headers["Content-Disposition"] = f'attachment; filename="{view.batch_id}.zip"'
    # A client that looks at the status alone does not take a part for the whole.
    status = HTTPStatus.OK if view.state == "done" else HTTPStatus.MULTI_STATUS
    return StreamedAnswer(archive_of(deps, view), media_type="application/zip", headers=headers, status_code=status)


def _refusal(view: BatchView, otherwise: HTTPStatus) -> Problem:
    return refusal_of((fault.model_dump() for fault in view.faults), otherwise, "the batch is rejected")


def archive_of(deps: Dependencies, view: BatchView) -> AsyncIterator[bytes]:
    """The ZIP of all outputs of a batch, and of the report of one that is not wholly done: it names what is missing."""
    return zip_chunks(deps.output, _archived_keys(deps, view), f"{view.destination}/")


async def _archived_keys(deps: Dependencies, view: BatchView) -> AsyncIterator[str]:
    async for key in deps.follower.output_keys(view.batch_id):
        yield key
    if view.report is not None and view.state != "done":
        yield view.report


def _batch_answer(view: BatchView, status: HTTPStatus) -> Response:
    return Response(
        view.model_dump_json(), status_code=status, media_type="application/json", headers=_headers(view.batch_id)
    )


def _headers(batch_id: str) -> dict[str, str]:
    return {"Location": path_of(batch_id), "X-Batch-Id": batch_id}
