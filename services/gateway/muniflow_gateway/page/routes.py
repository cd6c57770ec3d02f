"""The page at `/`: files of this package, without a build step, and nothing from another host."""

import hashlib
from functools import lru_cache
from http import HTTPStatus
from importlib.resources import files

from fastapi import APIRouter, Request, Response

from muniflow_gateway.problems import Problem

router = APIRouter(include_in_schema=False)
TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@lru_cache(maxsize=64)
def read_page_file(name: str) -> tuple[bytes, str, str] | None:
    """Bytes, content type and tag of a file of the page; `None` when there is none."""
    kind = TYPES.get(name.rpartition(".")[2])
    if kind is None or "/" in name or "\\" in name or name.startswith("."):
        return None
    try:
        body = (files("muniflow_gateway") / "page" / name).read_bytes()
    except (FileNotFoundError, IsADirectoryError, ValueError):
        return None
    return body, kind, f'"{hashlib.sha256(body).hexdigest()[:16]}"'


@router.get("/")
async def index(request: Request) -> Response:
    """The page."""
    return _send(request, "index.html")


@router.get("/favicon.ico")
async def icon(request: Request) -> Response:
    """The icon, for browsers that ask at the old place."""
    return _send(request, "icon.svg")


@router.get("/page/{name}")
async def page_file(name: str, request: Request) -> Response:
    """A part of the page."""
    return _send(request, name)


def _send(request: Request, name: str) -> Response:
    found = read_page_file(name)
    if found is None:
        raise Problem(HTTPStatus.NOT_FOUND, "there is no such file")
    body, kind, tag = found
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(body, media_type=kind, headers=headers)
