"""The ASGI application."""

import logging
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from muniflow.errors import Fault, MuniflowError
from muniflow_gateway.api_page import routes as api_page
from muniflow_gateway.dependencies import Dependencies
from muniflow_gateway.headers import SafeHeaders
from muniflow_gateway.page import routes as page
from muniflow_gateway.problems import Problem, invalid, problem_of
from muniflow_gateway.routes import batch_events as routes_batch_events
from muniflow_gateway.routes import batches as routes_batches
from muniflow_gateway.routes import failures as routes_failures
from muniflow_gateway.routes import pipeline as routes_pipeline
from muniflow_gateway.routes import plans as routes_plans
from muniflow_gateway.routes import reports as routes_reports
from muniflow_gateway.routes import static as routes_static
from muniflow_gateway.routes import upload as routes_upload
from muniflow_gateway.routes.openapi import openapi_of

ROUTERS = tuple(
    module.router
    for module in (
        routes_upload,
        routes_batches,
        routes_batch_events,
        routes_failures,
        routes_reports,
        routes_plans,
        routes_pipeline,
        routes_static,
        page,
        api_page,
    )
)
NOT_PLACES = frozenset({"body", "query", "path", "header"})

log = logging.getLogger(__name__)


def make_app(deps: Dependencies) -> FastAPI:
    """The application over these parts."""
    app = FastAPI(title="muniflow", openapi_url="/openapi.json", docs_url=None, redoc_url=None, redirect_slashes=True)
    app.state.deps = deps
    for router in ROUTERS:
        app.include_router(router)
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(MuniflowError, _on_error)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(Exception, _on_bug)
    app.add_middleware(
        SafeHeaders,
        access=deps.access,
        metrics=deps.metrics,
        settings=deps.settings,
    )
    document = openapi_of(app, deps.operations)
    app.openapi = lambda: document  # type: ignore[method-assign]  # the way that FastAPI documents
    return app


def _refuse(request: Request, problem: Problem) -> Response:
    """Answer a request that is not served, and count it."""
    deps: Dependencies = request.app.state.deps
    deps.metrics.refused(problem.reason)
    return problem.response()


async def _on_problem(request: Request, error: Exception) -> Response:
    return _refuse(request, cast("Problem", error))


async def _on_error(request: Request, error: Exception) -> Response:
    return _refuse(request, problem_of(cast("MuniflowError", error)))


async def _on_http(request: Request, error: Exception) -> Response:
    known = cast("HTTPException", error)
    status = HTTPStatus(known.status_code)
    text = known.detail if status == HTTPStatus.BAD_REQUEST else status.description or status.phrase
    headers = dict(known.headers or {})
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = _allowed(request)
    return _refuse(request, Problem(status, text, headers=headers))


def _allowed(request: Request) -> str:
    """Every method of a path. Each is a route of its own, and Starlette names only those of the first."""
    routes = (route for router in ROUTERS for route in router.routes if isinstance(route, Route))
    fitting = (route for route in routes if route.matches(request.scope)[0] is not Match.NONE)
    return ", ".join(sorted({method for route in fitting for method in route.methods or ()}))


async def _on_invalid(request: Request, error: Exception) -> Response:
    items = cast("list[dict[str, Any]]", cast("RequestValidationError", error).errors())
    return _refuse(request, invalid(Fault(_place(item["loc"]), str(item["msg"])) for item in items))


async def _on_bug(request: Request, error: Exception) -> Response:
    log.error("cannot answer %s %s", request.method, request.url.path, exc_info=error)
    return _refuse(request, Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; the log says more"))


def _place(location: tuple[str | int, ...]) -> str:
    """`limit`, `image`: where in the user's words."""
    deps = [part for number, part in enumerate(location) if number or part not in NOT_PLACES]
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in deps).lstrip(".")
