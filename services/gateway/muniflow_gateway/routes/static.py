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
from dataclasses import dataclass
from itertools import chain, islice
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool
from starlette.convertors import PathConvertor, register_url_convertor

from muniflow.errors import NotFound
from muniflow.model.api import BatchStatus
from muniflow.model.keys import REPORT, key_problem, output_key
from muniflow.store.types import Store
from muniflow_gateway.blobs import send_image, send_report
from muniflow_gateway.dependencies import Dependencies, DependenciesDep, OwnBatch, Reader
from muniflow_gateway.page.language import language_of, text
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


async def _language(request: Request) -> str:
    return language_of(request)


LanguageDep = Annotated[str, Depends(_language)]


@dataclass(frozen=True)
class Listing:
    """What stands above the names of a listing."""

    language: str
    path: str
    batch_id: str = ""
    """Empty: the listing of all batches."""
    name: str = ""
    """What people call the batch."""


@dataclass(frozen=True)
class ListingLine:
    """One line: a link, and what stands beside it."""

    href: str
    title: str
    note: str = ""


@router.get("/")
async def newest(deps: DependenciesDep, caller: Reader, language: LanguageDep) -> Response:
    """The newest batches."""
    page = await deps.coordinator.batches(owner=caller.sees_only, limit=NEWEST)
    entries = [_batch_entry(status) for status in page.batches if caller.sees(status.owner)]
    return HTMLResponse("".join(_listing(Listing(language, "/static/"), entries)))


@router.get("/{batch_id}/")
async def outputs(batch_id: OwnBatch, deps: DependenciesDep, _caller: Reader, language: LanguageDep) -> Response:
    """The outputs of a batch."""
    status = await deps.coordinator.batch(batch_id)
    folder = ListingLine("sent/", text(language, "files.sent"), "sent/")
    listing = Listing(language, f"/static/{batch_id}/", batch_id, status.name)
    return await _listed(listing, [folder], _names(deps.output, f"{status.destination}/"))


@router.get("/{batch_id}/sent/")
async def sent(batch_id: OwnBatch, deps: DependenciesDep, _caller: Reader, language: LanguageDep) -> Response:
    """The images of a batch as they were sent."""
    status = await deps.coordinator.batch(batch_id)
    listing = Listing(language, f"/static/{batch_id}/sent/", batch_id, status.name)
    return await _listed(listing, [], _names(deps.source, await deps.uploads.sent_folder(batch_id)))


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


def _batch_entry(status: BatchStatus) -> ListingLine:
    called = " · ".join(filter(None, (status.name, status.municipality)))
    note = status.batch_id if called else ""
    return ListingLine(f"{quote(status.batch_id, safe='')}/", called or status.batch_id, note)


async def _listed(listing: Listing, first: list[ListingLine], names: Iterator[str]) -> Response:
    """A listing as a stream, however long; trouble with the store is told before it begins."""
    begin = await run_in_threadpool(lambda: list(islice(names, 1)))
    files = (ListingLine(quote(name), name) for name in chain(begin, names))
    return StreamedAnswer(_listing(listing, chain(first, files)), media_type=HTML)


def _listing(listing: Listing, entries: Iterable[ListingLine]) -> Iterator[str]:
    """The page in pieces."""
    language = listing.language
    title = html.escape(listing.name or listing.batch_id or text(language, "files.title"))
    yield (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<title>{title} · muniflow</title><link rel="icon" href="/page/icon.svg">'
        '<link rel="stylesheet" href="/page/app.css"><link rel="stylesheet" href="/page/listing.css"></head><body>'
        '<header class="top"><a class="brand" href="/"><img src="/page/icon.svg" alt="" width="28" height="28">'
        f'<span translate="no">muniflow</span></a></header><main class="listing">{_ways_back(listing)}'
        f'<section class="card"><h1{_untranslated(listing.batch_id)}>{title}</h1>'
        f'<p class="small"><code translate="no">{html.escape(listing.path)}</code></p>'
        f'<ul class="files{"" if listing.batch_id else " wide"}">\n'
    )
    remaining, empty = iter(entries), True
    while some := list(islice(remaining, LINES)):
        empty = False
        yield "".join(map(_line, some))
    yield "</ul>"
    if empty:
        yield f'<p class="empty">{html.escape(text(language, "files.none"))}</p>'
    yield "</section></main></body></html>\n"


def _untranslated(is_data: object) -> str:
    return ' translate="no"' if is_data else ""


def _line(entry: ListingLine) -> str:
    """One line. A name of a file or a batch is in no language."""
    note = f'<small translate="no">{html.escape(entry.note)}</small>' if entry.note else ""
    title = f"<span{_untranslated(entry.href != 'sent/')}>{html.escape(entry.title)}</span>"
    return f'<li><a href="{entry.href}">{title}{note}</a></li>\n'


def _ways_back(listing: Listing) -> str:
    """Links to the page: to the batch whose files these are, or to all."""
    ways = {"/": "batches.all"}
    if listing.batch_id:
        batch = quote(listing.batch_id, safe="")
        ways |= {f"/#/batch/{batch}": "files.thisBatch", "/static/": "files.allFiles"}
        if listing.path.endswith("/sent/"):
            ways[f"/static/{batch}/"] = "files.outputs"
    links = "".join(f'<a href="{way}">{html.escape(text(listing.language, key))}</a>' for way, key in ways.items())
    return f'<nav aria-label="{html.escape(text(listing.language, "files.back"))}">{links}</nav>'
