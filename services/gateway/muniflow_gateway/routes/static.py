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
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool
from starlette.convertors import PathConvertor, register_url_convertor

from muniflow.errors import NotFound
from muniflow.model.keys import REPORT, key_problem, output_key
from muniflow.store.types import Store
from muniflow_gateway.blobs import send_image, send_report
from muniflow_gateway.dependencies import Dependencies, DependenciesDep, OwnBatch, Reader
from muniflow_gateway.streaming import StreamedAnswer


class _AnyConvertor(PathConvertor):
    """A path that may hold line ends, as names of images may."""

    regex = r"[\s\S]*"


register_url_convertor("any", _AnyConvertor())

router = APIRouter(prefix="/static", include_in_schema=False)
NEWEST = 500
KEPT = 10_000
LINES = 200
HTML = "text/html; charset=utf-8"


@router.get("/")
async def newest(deps: DependenciesDep, caller: Reader) -> Response:
    """The newest batches."""
    page = await deps.coordinator.batches(owner=caller.sees_only, limit=NEWEST)
    names = [f"{status.batch_id}/" for status in page.batches if caller.sees(status.owner)]
    return HTMLResponse("".join(_listing("/static/", names)))


@router.get("/{batch_id}/")
async def outputs(batch_id: OwnBatch, deps: DependenciesDep, _caller: Reader) -> Response:
    """The outputs of a batch."""
    prefix = f"{await _destination(deps, batch_id)}/"
    names = _names(deps.output, prefix)
    return await _listed(f"/static/{batch_id}/", ["../", "sent/"], names)


@router.get("/{batch_id}/sent/")
async def sent(batch_id: OwnBatch, deps: DependenciesDep, _caller: Reader) -> Response:
    """The images of a batch as they were sent."""
    names = _names(deps.source, await deps.uploads.sent_folder(batch_id))
    return await _listed(f"/static/{batch_id}/sent/", ["../"], names)


@router.get("/{batch_id}/sent/{name:any}")
async def sent_image(batch_id: OwnBatch, name: str, deps: DependenciesDep, _caller: Reader) -> Response:
    """An image as it was sent. Its content type is told from its bytes: its name is the client's."""
    _require_name(name)
    return await send_image(deps.source, await deps.uploads.sent_folder(batch_id) + name)


@router.get("/{batch_id}/{name:any}")
async def output(batch_id: OwnBatch, name: str, deps: DependenciesDep, _caller: Reader) -> Response:
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
    return StreamedAnswer(_listing(path, chain(folders, first, names)), media_type=HTML)


def _listing(path: str, names: Iterable[str]) -> Iterator[str]:
    title = html.escape(path)
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<title>{title} · muniflow</title><link rel="stylesheet" href="/page/app.css">'
        '<link rel="stylesheet" href="/page/listing.css"></head><body>'
        '<header class="top"><a class="brand" href="/">muniflow</a></header>'
        f'<main class="listing"><nav aria-label="Back">{_ways_back(path)}</nav>'
        f'<section class="card"><h1>{title}</h1><ul class="files">\n'
    )
    remaining = iter(names)
    while some := list(islice(remaining, LINES)):
        yield "".join(f'<li><a href="{quote(name)}">{html.escape(name)}</a></li>\n' for name in some)
    yield "</ul></section></main></body></html>\n"


def _ways_back(path: str) -> str:
    """Links to the page: to the batch whose files these are, or to all."""
    batch_id = path.removeprefix("/static/").partition("/")[0]
    ways = {"/": "All batches"}
    if batch_id:
        ways |= {f"/#/batch/{quote(batch_id)}": "This batch", "/static/": "Files of all batches"}
    return "".join(f'<a href="{way}">{text}</a>' for way, text in ways.items())
