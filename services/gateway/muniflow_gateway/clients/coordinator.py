"""The coordinator's read-only HTTP interface, for asyncio.

It is asked in threads: a question takes a dozen turns of a loop, and each turn looks at a thousand slow clients first.
"""

from functools import partial
from http import HTTPStatus
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from muniflow.errors import NotFound, Rejected, Unavailable
from muniflow.model.api import (
    BATCHES,
    FLEET,
    INFO,
    PROFILE,
    STAGE_HISTORY,
    STAGES,
    WITH_OUTPUTS,
    BatchList,
    BatchStatus,
    ImageList,
    ImageStatus,
    Info,
    StageHistory,
    StageList,
    batch_path,
    images_path,
    query_of,
)
from muniflow.model.api_budgets import BUDGETS, BudgetStatus
from muniflow.model.api_failures import FAILURE_COUNTS, MAX_REJECTIONS, REJECTIONS, FailureCounts, RejectionList
from muniflow_gateway.clients.fair_threads import FairThreads

TIMEOUT_S = 10.0
CONNECTIONS, PER_CALLER = 32, 16
"""Questions at a time; of these, for requests of one caller."""
NO_BATCH = "there is no such batch"

Model = TypeVar("Model", bound=BaseModel)


class CoordinatorClient:
    """One coordinator, by its base URL."""

    def __init__(self, url: str) -> None:
        """Connect to nothing yet."""
        self._url = url.rstrip("/")
        # trust_env: a proxy is for the outside, never for the coordinator.
        self._client = httpx.Client(
            base_url=self._url,
            timeout=TIMEOUT_S,
            trust_env=False,
            limits=httpx.Limits(max_connections=CONNECTIONS),
        )
        self._threads = FairThreads("coordinator", CONNECTIONS, PER_CALLER)

    def close(self) -> None:
        """Close the connections."""
        self._threads.close()
        self._client.close()

    async def info(self) -> Info:
        """The coordinator itself."""
        return await self._get(Info, INFO)

    async def batches(
        self,
        *,
        state: str | None = None,
        municipality: str | None = None,
        owner: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> BatchList:
        """A page of batches, newest first."""
        query = {"state": state, "municipality": municipality, "owner": owner, "after": after, "limit": limit}
        return await self._get(BatchList, BATCHES, **query)

    async def batch(self, batch_id: str) -> BatchStatus:
        """One batch.

        Raises:
            NotFound: the coordinator does not know it.
        """
        return await self._get(BatchStatus, batch_path(batch_id))

    async def rejections(
        self,
        *,
        batch: str | None = None,
        municipality: str | None = None,
        owner: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> RejectionList:
        """A page of rejected batches, newest first; none from a coordinator of an earlier build, which keeps none."""
        try:
            return await self._get(
                RejectionList,
                REJECTIONS,
                batch=batch,
                municipality=municipality,
                owner=owner,
                after=after,
                limit=min(limit, MAX_REJECTIONS),
            )
        except NotFound:
            return RejectionList(rejections=())

    async def images(
        self, batch_id: str, *, state: str | None = None, after: int | None = None, limit: int = 100
    ) -> ImageList:
        """A page of the images of a batch, by number.

        Raises:
            NotFound: the coordinator does not know it.
        """
        return await self._get(ImageList, images_path(batch_id), state=state, after=after, limit=limit)

    async def image(self, batch_id: str, number: int) -> ImageStatus:
        """One image of a batch.

        Raises:
            NotFound: there is no such batch or image.
        """
        page = await self.images(batch_id, after=number - 1, limit=1)
        if not page.images or page.images[0].image != number:
            raise NotFound(f"the batch {batch_id} has no image {number}")
        return page.images[0]

    async def stages(self) -> StageList:
        """All stages."""
        return await self._get(StageList, STAGES)

    async def history(self, *, limit: int | None = None) -> StageHistory:
        """The stages over the last hour."""
        return await self._get(StageHistory, STAGE_HISTORY, limit=limit)

    async def failure_counts(
        self, *, batch: str | None = None, operation: str | None = None, owner: str | None = None
    ) -> FailureCounts:
        """How many images have failed, by batch, reason code and operation; with `owner` only of its batches."""
        return await self._get(FailureCounts, FAILURE_COUNTS, batch=batch, operation=operation, owner=owner)

    async def budgets(self, owner: str) -> BudgetStatus:
        """What an owner may still ask for today."""
        return await self._get(BudgetStatus, BUDGETS, owner=owner)

    async def fleet(self) -> bytes:
        """What a new batch meets, for `muniflow.planning.fleet.read_fleet`.

        Raises:
            Unavailable: it is not known now.
        """
        return await self._read(FLEET)

    async def profile(self) -> bytes:
        """Service times, for `muniflow.forecast.profile.read_profile`."""
        return await self._read(PROFILE, **WITH_OUTPUTS)

    async def _get(self, model: type[Model], path: str, **query: str | int | None) -> Model:
        content = await self._read(path, **query)
        try:
            return model.model_validate_json(content)
        except ValidationError as error:
            raise Unavailable("the coordinator", f"its answer is not understood: {error}") from None

    async def _read(self, path: str, **query: str | int | None) -> bytes:
        try:
            answer = await self._threads.run(partial(self._client.get, path, params=query_of(**query)))
        except httpx.HTTPError as error:
            raise Unavailable("the coordinator", str(error) or type(error).__name__) from None
        except (httpx.InvalidURL, ValueError) as error:
            raise Rejected(f"not a request for the coordinator: {error}") from None
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise NotFound(NO_BATCH)
        if answer.status_code == HTTPStatus.BAD_REQUEST:
            raise Rejected(_reason(answer))
        if answer.status_code != HTTPStatus.OK:
            raise Unavailable("the coordinator", f"it answered {answer.status_code}: {_reason(answer)}")
        return answer.content


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]
