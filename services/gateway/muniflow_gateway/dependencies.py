"""Dependencies of the routes, and what the routes share."""

import asyncio
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.datastructures import QueryParams

from muniflow.errors import Fault
from muniflow.images.limits import ImageLimits
from muniflow.model.batch_faults import BATCH_ID
from muniflow.model.operation import Operations
from muniflow.model.owners import Grants
from muniflow.store.types import Store
from muniflow_gateway.auth.access import Access, Caller
from muniflow_gateway.clients.audit import AuditTeller
from muniflow_gateway.clients.broker import Broker
from muniflow_gateway.clients.coordinator import CoordinatorClient
from muniflow_gateway.clients.fair_threads import ASKING
from muniflow_gateway.clients.follow import Follower
from muniflow_gateway.clients.notices import NoticeHub
from muniflow_gateway.metrics import GatewayMetrics
from muniflow_gateway.problems import CONTENT_TYPE, invalid
from muniflow_gateway.settings import GatewaySettings
from muniflow_gateway.upload.service import UploadService


@dataclass
class Dependencies:
    """The parts of one gateway process."""

    settings: GatewaySettings
    limits: ImageLimits
    """Of source images."""
    operations: Operations
    source: Store
    output: Store
    broker: Broker
    coordinator: CoordinatorClient
    follower: Follower
    uploads: UploadService
    access: Access
    notices: NoticeHub
    metrics: GatewayMetrics
    audit: AuditTeller
    grants: Grants
    """What owners may read of the source store."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process drains: open streams end."""
    destinations: OrderedDict[str, str] = field(default_factory=OrderedDict)
    """Where the outputs of batches are, of those looked at lately."""

    def why_not_ready(self) -> str | None:
        """Why no batch can be handed in now, or `None`; called from any thread."""
        return "draining" if self.stopping.is_set() else self.broker.unavailable_reason

    async def given_up(self, request: Request) -> bool:
        """Whether a request that waits should wait no longer: its client or its key is gone, or the process drains."""
        return self.stopping.is_set() or not self.access.serves(request) or await request.is_disconnected()


# All are coroutines, also those that wait for nothing: FastAPI runs functions in its 40 threads, one after the other,
# and there each of them waits behind the downloads of everybody.


async def _dependencies(request: Request) -> Dependencies:
    deps: Dependencies = request.app.state.deps
    return deps


DependenciesDep = Annotated[Dependencies, Depends(_dependencies)]

# Only for the OpenAPI document: `Access` reads the headers itself.
_bearer = HTTPBearer(auto_error=False, description="An API key.")
_header = APIKeyHeader(name="X-Api-Key", auto_error=False, description="An API key.")


async def _caller(
    request: Request,
    deps: DependenciesDep,
    _in_bearer: Annotated[object, Security(_bearer)],
    _in_header: Annotated[object, Security(_header)],
) -> Caller:
    caller = deps.access.caller(request, request.method)
    ASKING.set(caller.identity)
    _require_each_once(request.query_params)
    return caller


def _require_each_once(given: QueryParams) -> None:
    """Refuse a request with a query parameter twice: FastAPI takes the last one, and somebody before it the first.

    Raises:
        Problem: 422.
    """
    counts = Counter(name for name, _ in given.multi_items())
    if more := [Fault(name, f"given {count} times") for name, count in counts.items() if count > 1]:
        raise invalid(more)


CallerDep = Annotated[Caller, Depends(_caller)]
"""Anybody with a key."""


async def _reader(caller: CallerDep) -> Caller:
    caller.require("read")
    return caller


async def _submitter(caller: CallerDep) -> Caller:
    caller.require("submit")
    return caller


async def _operator(caller: CallerDep) -> Caller:
    caller.require("operate")
    return caller


Reader = Annotated[Caller, Depends(_reader)]
Submitter = Annotated[Caller, Depends(_submitter)]
Operator = Annotated[Caller, Depends(_operator)]
BatchId = Annotated[
    str,
    Path(
        pattern=f"^{BATCH_ID.pattern}$",
        description="Id of a batch.",
        openapi_examples={"an upload": {"value": "20261122-093015-3f9c2a1b"}},
    ),
]


async def _own_batch(batch_id: BatchId, deps: DependenciesDep, caller: CallerDep) -> str:
    await deps.follower.require_seen(batch_id, caller.sees_only)
    return batch_id


OwnBatch = Annotated[str, Depends(_own_batch)]
"""The id of a batch that the caller may see; of any other it is 404, as if there were none. Every route takes this."""
ImageNumber = Annotated[int, Path(ge=0, le=2**31 - 1, description="Place of the image in its batch, from 0.")]
Limit = Annotated[int, Query(ge=1, le=500, description="Length of the page.")]
AfterImage = Annotated[int | None, Query(ge=-1, le=2**31 - 1, description="`next` of the page before.")]

_TEXTS = {
    400: "The request cannot be read.",
    401: "An API key is needed.",
    403: "Another site sent this request, or the key has not the scope.",
    404: "There is no such thing.",
    408: "The body stopped coming.",
    409: "It does not fit the state of the batch.",
    413: "Beyond a limit of size.",
    415: "Not a content type that is taken.",
    422: "Wrong: every fault by its place.",
    429: "A quota is used up; see `Retry-After`.",
    503: "The broker, the store or the coordinator is away, or too much is waiting; see `Retry-After`.",
}
_ALWAYS = (401, 403, 422, 429, 503)


OCTETS = "application/octet-stream"


def binary(*types: str) -> dict[str, dict[str, Any]]:
    """The OpenAPI content of an answer that is bytes of one of these types.

    Clients are generated for `application/octet-stream` where a generator does not know the type itself.
    """
    return {name: {"schema": {"type": "string", "format": "binary"}} for name in (*types, OCTETS)}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI error answers of a route."""
    return {status: _problem(status) for status in sorted({*_ALWAYS, *statuses})}


def _problem(status: int) -> dict[str, Any]:
    faults = [{"place": "operations[1]", "problem": "unknown operation 'rotate'; installed: blur, resize, split"}]
    example = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": "the request has 1 fault" if status == HTTPStatus.UNPROCESSABLE_ENTITY else _TEXTS[status],
        "faults": faults if status == HTTPStatus.UNPROCESSABLE_ENTITY else [],
    }
    answer: dict[str, Any] = {
        "description": _TEXTS[status],
        "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}, "example": example}},
    }
    if status in {429, 503}:
        answer["headers"] = {
            "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
        }
    return answer
