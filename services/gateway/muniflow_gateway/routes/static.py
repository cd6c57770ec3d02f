"""`/static/`: results and the images sent, to look through with a browser, as the predecessor had them.

| address | what |
| --- | --- |
| `/static/` | the newest batches |
| `/static/<batch>/` | its outputs, its report, and `sent/` |
| `/static/<batch>/<stem>-<i>.<ext>` | an output |
| `/static/<batch>/sent/<name>` | an image as it was sent |
"""

import html
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from urllib.parse import quote

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from muniflow.errors import NotFound
from muniflow.model.keys import REPORT, key_problem, output_key
from muniflow.store.types import Store
from muniflow_gateway.blobs import send_image, send_report
from muniflow_gateway.dependencies import BatchId, CallerDep, Dependencies, DependenciesDep

router = APIRouter(prefix="/static", include_in_schema=False)
NEWEST = 500
KEPT = 10_000
LINES = 200
HTML = "text/html; charset=utf-8"


@router.get("/")
async def newest(deps: DependenciesDep, _caller: CallerDep) -> Response:
    """The newest batches."""
    page = await deps.coordinator.batches(limit=NEWEST)
    names = [f"{status.batch_id}/" for status in page.batches]
    return HTMLResponse("".join(_listing("/static/", names)))


@router.get("/{batch_id}/")
async def outputs(batch_id: BatchId, deps: DependenciesDep, _caller: CallerDep) -> Response:
    """The outputs of a batch."""
    prefix = f"{await _destination(deps, batch_id)}/"
    names = _names(deps.output, prefix)
    return await _listed(f"/static/{batch_id}/", ["../", "sent/"], names)


@router.get("/{batch_id}/sent/")
async def sent(batch_id: BatchId, deps: DependenciesDep, _caller: CallerDep) -> Response:
    """The images of a batch as they were sent."""
    names = _names(deps.source, await deps.uploads.sent_folder(batch_id))
    return await _listed(f"/static/{batch_id}/sent/", ["../"], names)


@router.get("/{batch_id}/sent/{name:path}")
async def sent_image(batch_id: BatchId, name: str, deps: DependenciesDep, _caller: CallerDep) -> Response:
    """An image as it was sent. Its content type is told from its bytes: its name is the client's."""
    _require_name(name)
    return await send_image(deps.source, await deps.uploads.sent_folder(batch_id) + name)


@router.get("/{batch_id}/{name:path}")
async def output(batch_id: BatchId, name: str, deps: DependenciesDep, _caller: CallerDep) -> Response:
    """An output or the report."""
    _require_name(name)
    send = send_report if name == REPORT else send_image
    return await send(deps.output, output_key(await _destination(deps, batch_id), name))


async def _destination(deps: Dependencies, batch_id: str) -> str:
    """Where the outputs of a batch are; never changes, so it is asked once."""
    known = deps.destinations.get(batch_id)
    if known is None:
        known = (await deps.coordinator.batch(batch_id)).destination
        deps.destinations[batch_id] = known
        if len(deps.destinations) > KEPT:
            deps.destinations.popitem(last=False)
    return known


def _require_name(name: str) -> None:
    if key_problem(name) is not None:
        raise NotFound("there is no such file")


def _names(store: Store, prefix: str) -> Iterator[str]:
    return (blob.key.removeprefix(prefix) for blob in store.list(prefix))


async def _listed(path: str, folders: list[str], names: Iterator[str]) -> Response:
    """A listing as a stream, however long; trouble with the store is told before it begins."""
    first = await run_in_threadpool(lambda: list(islice(names, 1)))
    return StreamingResponse(_listing(path, chain(folders, first, names)), media_type=HTML)


def _listing(path: str, names: Iterable[str]) -> Iterator[str]:
    title = html.escape(path)
    yield (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>{title}</title><link rel="stylesheet" href="/page/listing.css"><h1>{title}</h1><ul>\n'
    )
    remaining = iter(names)
    while some := list(islice(remaining, LINES)):
        yield "".join(f'<li><a href="{quote(name)}">{html.escape(name)}</a>\n' for name in some)
    yield "</ul></html>\n"
