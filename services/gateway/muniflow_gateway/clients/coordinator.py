"""The coordinator's read-only HTTP interface, for asyncio."""

from http import HTTPStatus
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from muniflow.errors import NotFound, Rejected, Unavailable
from muniflow.model.api import (
    BATCHES,
    INFO,
    STAGES,
    BatchList,
    BatchStatus,
    ImageList,
    ImageStatus,
    Info,
    StageList,
    batch_path,
    images_path,
    query_of,
)

TIMEOUT_S = 10.0
CONNECTIONS = 32

Model = TypeVar("Model", bound=BaseModel)


class Coordinator:
    """One coordinator, by its base URL."""

    def __init__(self, url: str) -> None:
        """Connect to nothing yet."""
        self._url = url.rstrip("/")
        # trust_env: a proxy is for the outside, never for the coordinator.
        self._client = httpx.AsyncClient(
            base_url=self._url,
            timeout=TIMEOUT_S,
            trust_env=False,
            limits=httpx.Limits(max_connections=CONNECTIONS),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def info(self) -> Info:
        """The coordinator itself."""
        return await self._get(Info, INFO)

    async def batches(
        self, *, state: str | None = None, municipality: str | None = None, after: str | None = None, limit: int = 50
    ) -> BatchList:
        """A page of batches, newest first."""
        return await self._get(BatchList, BATCHES, state=state, municipality=municipality, after=after, limit=limit)

    async def batch(self, batch_id: str) -> BatchStatus:
        """One batch.

        Raises:
            NotFound: the coordinator does not know it.
        """
        return await self._get(BatchStatus, batch_path(batch_id))

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

    async def _get(self, model: type[Model], path: str, **query: str | int | None) -> Model:
        try:
            answer = await self._client.get(path, params=query_of(**query))
        except httpx.HTTPError as error:
            raise Unavailable("the coordinator", str(error) or type(error).__name__) from None
        except (httpx.InvalidURL, ValueError) as error:
            raise Rejected(f"not a request for the coordinator: {error}") from None
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise NotFound("there is no such batch")
        if answer.status_code == HTTPStatus.BAD_REQUEST:
            raise Rejected(_reason(answer))
        if answer.status_code != HTTPStatus.OK:
            raise Unavailable("the coordinator", f"it answered {answer.status_code}: {_reason(answer)}")
        try:
            return model.model_validate_json(answer.content)
        except ValidationError as error:
            raise Unavailable("the coordinator", f"its answer is not understood: {error}") from None


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]
