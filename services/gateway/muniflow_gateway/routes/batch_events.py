"""`/v1/batches/{id}/events`: one batch as server-sent events."""

from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request, Response

from muniflow_gateway.auth import rooms
from muniflow_gateway.auth.access import Caller
from muniflow_gateway.dependencies import Dependencies, DependenciesDep, OwnBatch, Reader, problems
from muniflow_gateway.streaming import StreamedAnswer

router = APIRouter(prefix="/v1/batches", tags=["batches"])
EVENTS: dict[str, Any] = {
    "text/event-stream": {
        "schema": {
            "type": "string",
            "contentMediaType": "text/event-stream",
            "contentSchema": {"type": "array", "items": {"$ref": "#/components/schemas/BatchEvent"}},
        },
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
async def events(batch_id: OwnBatch, deps: DependenciesDep, caller: Reader, request: Request) -> Response:
    """The stream ends with the batch; and with the key, when that is revoked or its time is over."""
    await deps.follower.now(batch_id, caller.sees_only)  # 404 before the stream begins
    deps.access.slots.take_room(request.scope, rooms.streams(deps.settings), caller.identity)
    return StreamedAnswer(_stream(deps, request, batch_id, caller), media_type="text/event-stream")


async def _stream(deps: Dependencies, request: Request, batch_id: str, caller: Caller) -> AsyncIterator[bytes]:
    def over() -> bool:
        return deps.stopping.is_set() or not deps.access.serves(request)

    async for event in deps.follower.events(batch_id, over, caller.sees_only):
        yield event
