"""`/docs`: the page and its files, which lie beside this module. Nothing comes from another host.

Swagger UI is kept as its package has it, packed with gzip: every browser takes it so.
"""

import gzip
import hashlib
from functools import lru_cache
from http import HTTPStatus
from importlib.resources import files

from fastapi import APIRouter, Request, Response

from muniflow_gateway.problems import Problem

router = APIRouter(prefix="/docs", include_in_schema=False)
SWAGGER_UI = "5.35.0"
PACKED = {
    "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
}
"""Files of the package `swagger-ui-dist` of this version, with the SHA-256 of each."""
TYPES = {
    "index.html": "text/html; charset=utf-8",
    "start.css": "text/css; charset=utf-8",
    "start.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
}


@lru_cache(maxsize=len(TYPES))
def read_file(name: str) -> tuple[bytes, str]:
    """A file of the page as it is kept, and its tag."""
    packed = f"{name}.gz" if name in PACKED else name
    body = (files("muniflow_gateway") / "api_page" / packed).read_bytes()
    return body, f'"{hashlib.sha256(body).hexdigest()[:16]}"'


@router.get("")
async def index(request: Request) -> Response:
    """The page."""
    return _send(request, "index.html")


@router.get("/{name}")
async def file(name: str, request: Request) -> Response:
    """A part of it."""
    if name not in TYPES:
        raise Problem(HTTPStatus.NOT_FOUND, "there is no such file")
    return _send(request, name)


def _send(request: Request, name: str) -> Response:
    body, tag = read_file(name)
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    if name in PACKED:
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
        else:
            body = gzip.decompress(body)
    return Response(body, media_type=TYPES[name], headers=headers)
