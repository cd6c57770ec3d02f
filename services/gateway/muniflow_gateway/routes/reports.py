"""`/v1/batches/<id>/report`: the report of a batch, whole or as a stream of rows."""

from typing import Any

from fastapi import APIRouter, Response

from muniflow.model.report_rows import CONTENT_TYPES, RowFormat
from muniflow_gateway.blobs import JSON, send_report, send_rows
from muniflow_gateway.dependencies import Dependencies, DependenciesDep, OwnBatch, Reader, binary, problems

router = APIRouter(prefix="/v1/batches", tags=["batches"])


@router.get(
    "/{batch_id}/report",
    operation_id="getReport",
    summary="Get its report",
    response_class=Response,
    responses={
        200: {"description": "The report.", "content": {JSON: {"schema": {"$ref": "#/components/schemas/Report"}}}},
        **problems(404),
    },
)
async def get_report(batch_id: OwnBatch, deps: DependenciesDep, _caller: Reader) -> Response:
    """`report.json`: every image with its state, outputs or reasons, totals and times. There is none before the end."""
    return await send_report(deps.output, await deps.follower.report_key(batch_id))


def _rows_answer(content: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": "One row for each image.", "content": content}, **problems(404)}


@router.get(
    "/{batch_id}/report.ndjson",
    operation_id="getReportNdjson",
    summary="Get its report as NDJSON",
    response_class=Response,
    responses=_rows_answer(binary(CONTENT_TYPES["ndjson"])),
)
async def get_report_ndjson(batch_id: OwnBatch, deps: DependenciesDep, _caller: Reader) -> Response:
    """The images of the report as a stream: a line of JSON for each, however many there are."""
    return await _report_rows(batch_id, deps, "ndjson")


@router.get(
    "/{batch_id}/report.csv",
    operation_id="getReportCsv",
    summary="Get its report as CSV",
    response_class=Response,
    responses=_rows_answer({CONTENT_TYPES["csv"]: {"schema": {"type": "string"}}}),
)
async def get_report_csv(batch_id: OwnBatch, deps: DependenciesDep, _caller: Reader) -> Response:
    """The images of the report as a stream: a row for each, with lists as JSON."""
    return await _report_rows(batch_id, deps, "csv")


async def _report_rows(batch_id: str, deps: Dependencies, form: RowFormat) -> Response:
    key = await deps.follower.report_key(batch_id)
    return await send_rows(deps.output, key, form, f"{batch_id}-report.{form}")
