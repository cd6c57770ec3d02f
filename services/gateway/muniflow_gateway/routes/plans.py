"""`/v1/plans`: when a batch would end, before it is sent."""

import time
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Body, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from muniflow.errors import Fault, Invalid
from muniflow.forecast.cost import PoolPrice, require_prices
from muniflow.forecast.profile import Profile, read_profile
from muniflow.model.batch import Batch, faults_of
from muniflow.planning.fleet import Fleet, read_fleet
from muniflow.planning.plan import Wish, make_plan
from muniflow.planning.sampling import GivenSizes, Sampling, given_sizes, sample_sizes
from muniflow_gateway.auth import rooms
from muniflow_gateway.auth.access import Caller
from muniflow_gateway.dependencies import Dependencies, DependenciesDep, Reader, problems
from muniflow_gateway.schemas import PlanView
from muniflow_gateway.upload.documents import Rights, check_document, encoded

router = APIRouter(tags=["plans"])
BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/PlanRequest"}}},
    }
}


class PlanOptions(BaseModel):
    """What a plan can be asked beside its batch."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    sizes: GivenSizes | None = Field(None, description="Sizes of the images, where they are not in the store yet.")
    replicas: dict[str, Annotated[int, Field(ge=0, le=100_000)]] | None = Field(
        None, description="Replicas by stage; a stage that is not named keeps those that run."
    )
    budget: float | None = Field(None, ge=0, allow_inf_nan=False, description="The fastest plan that costs no more.")
    prices: dict[str, PoolPrice] | None = Field(None, description="Prices by node pool, for the cost.")


@router.post(
    "/v1/plans",
    operation_id="planBatch",
    summary="Say when a batch ends, before it is sent",
    responses=problems(400, 413),
    openapi_extra=BODY,
)
async def plan(
    request: Request, given: Annotated[dict[str, Any], Body()], deps: DependenciesDep, caller: Reader
) -> PlanView:
    """A batch as for `/v1/batches`, and beside it what a plan can be asked. Nothing is run, nothing is kept.

    The sizes of its images are read from their headers; with `sizes` no image needs to be there.
    """
    batch, options = _read(given, deps, caller)
    deps.access.slots.take_room(request.scope, rooms.PLANS, caller.identity)
    fleet = read_fleet(await deps.coordinator.fleet(), "the running stack")
    profile = read_profile(await deps.coordinator.profile())
    return await run_in_threadpool(_plan, deps, batch, options, fleet, profile)


def _read(given: Mapping[str, Any], deps: Dependencies, caller: Caller) -> tuple[Batch, PlanOptions]:
    """The batch and the options, checked.

    Raises:
        Invalid: with every fault of both.
    """
    own = {name: value for name, value in given.items() if name in PlanOptions.model_fields}
    document = {name: value for name, value in given.items() if name not in own}
    if document.get("batch_id") is None:
        document["batch_id"] = "plan"
    grants = deps.grants
    if own.get("sizes") is not None:  # nothing is read
        document, grants = {"images": ["1.jpg"]} | document, {caller.owner: ("",)}
    faults, options, batch = [], None, None
    try:
        options = PlanOptions.model_validate(own)
    except ValidationError as error:
        faults += faults_of(error)
    try:
        batch = check_document(encoded(document), deps.operations, Rights(caller.owner, grants), time.time())
    except Invalid as invalid:
        faults += invalid.faults
    if own.get("budget") is not None and own.get("replicas") is not None:
        faults.append(Fault("budget", "give it or `replicas`, not both"))
    if faults or options is None or batch is None:
        raise Invalid(tuple(faults))
    return batch, options


def _plan(deps: Dependencies, batch: Batch, options: PlanOptions, fleet: Fleet, profile: Profile) -> PlanView:
    if options.prices is not None:
        require_prices(options.prices, fleet.stages)
    made = make_plan(
        batch,
        deps.operations,
        _sampling(deps, batch, options),
        fleet,
        profile=profile,
        prices=options.prices,
        wish=Wish(options.replicas, batch.deadline_at, options.budget),
        now_at=time.time(),
    )
    return PlanView.model_validate(made.document())


def _sampling(deps: Dependencies, batch: Batch, options: PlanOptions) -> Sampling:
    if options.sizes is not None:
        return given_sizes(options.sizes)
    return sample_sizes(batch, deps.source, deps.output, deps.limits)
