"""The page at `/`: files of this package, without a build step, and nothing from another host.

`index.html` is filled in the reader's language: `{{key}}` stands for a text, and the script finds all of them in it.
"""

import gzip
import hashlib
import html
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from importlib.resources import files

from fastapi import APIRouter, Request, Response

from muniflow_gateway.page.language import LANGUAGES, language_of, text, texts_of
from muniflow_gateway.problems import Problem

router = APIRouter(include_in_schema=False)
INDEX = "index.html"
TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "json": "application/json",
}
PLACE = re.compile(rb"\{\{([\w.]+)\}\}")


@dataclass(frozen=True)
class PageFile:
    """A file of the page, ready to be sent."""

    body: bytes
    compressed: bytes
    """With gzip."""
    content_type: str
    tag: str


@lru_cache(maxsize=256)
def read_page_file(name: str, language: str = LANGUAGES[0]) -> PageFile | None:
    """A file of the page; `None` when there is none."""
    kind = TYPES.get(name.rpartition(".")[2])
    if kind is None or "/" in name or "\\" in name or name.startswith("."):
        return None
    try:
        folder = files("muniflow_gateway") / "page"
        body = (folder / "texts" / name if kind == TYPES["json"] else folder / name).read_bytes()
    except (FileNotFoundError, IsADirectoryError, ValueError):
        return None
    if name == INDEX:
        body = PLACE.sub(lambda place: _filled(place[1].decode(), language).encode(), body)
    return PageFile(body, gzip.compress(body, mtime=0), kind, hashlib.sha256(body).hexdigest()[:16])


def _filled(place: str, language: str) -> str:
    match place:
        case "lang":
            return language
        case "texts":  # in a script element: nothing in it may end that element
            return json.dumps(texts_of(language), ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
        case "modules":  # asked for at once, not one after the other as they import each other
            names = sorted(file.name for file in (files("muniflow_gateway") / "page").iterdir())
            return "".join(f'<link rel="modulepreload" href="/page/{name}">' for name in names if name.endswith(".js"))
        case "languages":
            return "".join(_option(each, each == language) for each in LANGUAGES)
        case _:
            return html.escape(text(language, place))


def _option(language: str, is_chosen: bool) -> str:
    name = html.escape(text(language, "language"))
    return f'<option value="{language}" lang="{language}"{" selected" if is_chosen else ""}>{name}</option>'


@router.get("/")
async def index(request: Request) -> Response:
    """The page."""
    return _send(request, INDEX)


@router.get("/favicon.ico")
async def icon(request: Request) -> Response:
    """The icon, for browsers that ask at the old place."""
    return _send(request, "icon.svg")


@router.get("/page/{name}")
async def page_file(name: str, request: Request) -> Response:
    """A part of the page."""
    return _send(request, name)


def _send(request: Request, name: str) -> Response:
    found = read_page_file(name, language_of(request) if name == INDEX else LANGUAGES[0])
    if found is None:
        raise Problem(HTTPStatus.NOT_FOUND, "there is no such file")
    is_compressed = "gzip" in request.headers.get("accept-encoding", "")
    tag = f'"{found.tag}{"-gzip" if is_compressed else ""}"'
    vary = "Accept-Encoding, Accept-Language, Cookie" if name == INDEX else "Accept-Encoding"
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Vary": vary}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    if is_compressed:
        headers["Content-Encoding"] = "gzip"
    return Response(found.compressed if is_compressed else found.body, media_type=found.content_type, headers=headers)
