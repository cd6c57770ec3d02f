"""The pipeline itself: stages, operations, the session of the page, health."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Body, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from muniflow.model.api import StageList
from muniflow.model.owners import SCOPES, Scope
from muniflow_gateway.auth.access import COOKIE
from muniflow_gateway.dependencies import CallerDep, DependenciesDep, problems
from muniflow_gateway.problems import Problem
from muniflow_gateway.schemas import OperationPage, operation_view

router = APIRouter(tags=["pipeline"])
COOKIE_S = 30 * 24 * 3600


@router.get("/v1/stages", operation_id="listStages", summary="Look at the stages", responses=problems())
async def stages(deps: DependenciesDep, _caller: CallerDep) -> StageList:
    """Backlog, consumers, rate and time to drain of each operation. `null`: not known now."""
    return await deps.coordinator.stages()


@router.get("/v1/operations", operation_id="listOperations", summary="List the operations", responses=problems())
async def operations(deps: DependenciesDep, _caller: CallerDep) -> OperationPage:
    """What is installed, with the parameters of each and examples."""
    return OperationPage(operations=[operation_view(operation) for operation in deps.operations.values()])


class SessionView(BaseModel):
    """Who you are."""

    name: str = Field(description="Name of your API key; `local` where none is asked for.", examples=["utrecht"])
    needs_key: bool = Field(description="Whether API keys are asked for.")
    owner: str = Field(description="Whose batches you send and see.", examples=["utrecht"])
    scopes: list[Scope] = Field(description="What you may do.")


class SessionRequest(BaseModel):
    """An API key for a browser."""

    model_config = ConfigDict(extra="forbid", strict=True)

    key: str = Field(min_length=1, max_length=200, description="An API key; it is kept in a cookie of the browser.")


@router.get("/v1/session", operation_id="getSession", summary="Who am I?", responses=problems())
async def get_session(deps: DependenciesDep, caller: CallerDep) -> SessionView:
    """The page asks this first."""
    scopes = [scope for scope in SCOPES if scope in caller.scopes]
    return SessionView(name=caller.name, needs_key=not deps.access.is_open, owner=caller.owner, scopes=scopes)


@router.post(
    "/v1/session", operation_id="signIn", summary="Give an API key to the browser", responses=problems(400, 413)
)
async def sign_in(
    request: Request, response: Response, deps: DependenciesDep, given: Annotated[SessionRequest, Body()]
) -> SessionView:
    """Sets a cookie that no script can read and no other site can use."""
    key, needs_key = deps.access.check(request, given.key), not deps.access.is_open
    view = SessionView(name=key.name, needs_key=needs_key, owner=key.owner, scopes=list(key.scopes))
    secure = deps.settings.behind_tls
    response.set_cookie(COOKIE, given.key, max_age=COOKIE_S, httponly=True, samesite="strict", secure=secure)
    return view


@router.delete("/v1/session", operation_id="signOut", summary="Forget the API key", status_code=204)
async def sign_out(response: Response, deps: DependenciesDep) -> None:
    """Removes the cookie."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=deps.settings.behind_tls)


class Health(BaseModel):
    """How it is."""

    status: str = Field("ok", examples=["ok"])


@router.get("/livez", operation_id="getLiveness", summary="Does the process live?", responses={503: problems()[503]})
async def live(deps: DependenciesDep) -> Health:
    """Depends on nothing outside the process."""
    if not deps.broker.alive:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the broker's loop does not run", retry_after_s=1)
    return Health()


class Readiness(Health):
    """How it is, and whom it serves."""

    access: str = Field(description="Whom it serves now, for a person.", examples=["an API key is asked for"])


@router.get("/readyz", operation_id="getReadiness", summary="Can it take batches?", responses={503: problems()[503]})
async def ready(deps: DependenciesDep) -> Readiness:
    """Whether batches can be handed in now, by those who are served."""
    if (why_not := deps.why_not_ready()) is not None:
        reason = "busy" if deps.stopping.is_set() else "broker"
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, why_not, reason=reason, retry_after_s=5)
    return Readiness(access=deps.access.says)
