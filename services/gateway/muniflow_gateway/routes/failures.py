"""What failed, by reason, of a batch and of a stage; and the last hour of the stages."""

from collections import Counter
from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from muniflow.errors import NotFound
from muniflow.model.api import MAX_HISTORY_POINTS, StageHistory
from muniflow.model.api_failures import FailureCount
from muniflow.reason_codes import REASONS, UNKNOWN
from muniflow_gateway.dependencies import CallerDep, DependenciesDep, OwnBatch, Reader, problems

router = APIRouter(prefix="/v1")


class ReasonView(BaseModel):
    """How many images failed for one reason."""

    reason_code: str = Field(examples=["image_damaged"])
    meaning: str = Field(description="For people; it may change.")
    images: int


class ReasonPage(BaseModel):
    """Failures by reason, the most first."""

    reasons: list[ReasonView]


@router.get(
    "/batches/{batch_id}/failures",
    operation_id="countFailures",
    summary="Count its failed images by reason",
    responses=problems(404),
    tags=["batches"],
)
async def batch_failures(batch_id: OwnBatch, deps: DependenciesDep, _caller: Reader) -> ReasonPage:
    """How many images failed for each reason; give a `reason_code` to the replay to run one group again."""
    await deps.coordinator.batch(batch_id)  # 404 for one that is not known
    return _by_reason((await deps.coordinator.failure_counts(batch=batch_id)).groups)


@router.get(
    "/stages/history",
    operation_id="getStageHistory",
    summary="Look at the last hour of the stages",
    responses=problems(),
    tags=["pipeline"],
)
async def history(
    deps: DependenciesDep,
    _caller: CallerDep,
    limit: Annotated[
        int, Query(ge=1, le=MAX_HISTORY_POINTS, description="The newest points only.")
    ] = MAX_HISTORY_POINTS,
) -> StageHistory:
    """Backlog, rate and workers of each operation, a point each 5 s, oldest first. `null`: not known then."""
    return await deps.coordinator.history(limit=limit)


@router.get(
    "/stages/{operation}/failures",
    operation_id="countStageFailures",
    summary="Count the failures of an operation by reason",
    responses=problems(404),
    tags=["pipeline"],
)
async def stage_failures(
    operation: Annotated[str, Path(max_length=80, description="Name of an operation.")],
    deps: DependenciesDep,
    caller: Reader,
) -> ReasonPage:
    """Images of all your batches that failed at this operation and were not replayed since."""
    if operation not in deps.operations:
        raise NotFound(f"there is no operation {operation}")
    return _by_reason((await deps.coordinator.failure_counts(operation=operation, owner=caller.sees_only)).groups)


def _by_reason(groups: Iterable[FailureCount]) -> ReasonPage:
    counts: Counter[str] = Counter()
    for group in groups:
        counts[group.reason_code] += group.images
    meanings = {str(code): reason.meaning for code, reason in REASONS.items()}
    unknown = REASONS[UNKNOWN].meaning
    return ReasonPage(
        reasons=[
            ReasonView(reason_code=code, meaning=meanings.get(code, unknown), images=images)
            for code, images in counts.most_common()
        ]
    )
