"""How much is waiting in the whole pipeline, asked at most every few seconds."""

import time
from http import HTTPStatus

from muniflow.errors import MuniflowError
from muniflow.runtime.settings import variable
from muniflow_gateway.clients.coordinator import CoordinatorClient
from muniflow_gateway.problems import Problem

FRESH_S = 3.0
PAGE = 500
RETRY_S = 60.0


class AcceptedImages:
    """Images of all running batches that are not settled."""

    def __init__(self, coordinator: CoordinatorClient, limit: int) -> None:
        """`limit`: images; past it nothing more is taken in."""
        self._coordinator = coordinator
        self._limit = limit
        self._images = 0
        self._asked_s = float("-inf")

    async def require_room(self) -> None:
        """Refuse a batch while too much is waiting.

        A coordinator that does not answer is no reason to refuse: the queue keeps the batch until it does.

        Raises:
            Problem: 503.
        """
        if time.monotonic() - self._asked_s > FRESH_S:
            self._asked_s = time.monotonic()
            try:
                page = await self._coordinator.batches(state="running", limit=PAGE)
            except MuniflowError:
                return
            self._images = sum(each.total - each.done - each.failed - each.cancelled for each in page.batches)
        if self._images > self._limit:
            text = f"{self._images} images are waiting; the limit is {self._limit} ({variable('max_backlog_images')})"
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, text, reason="backlog", retry_after_s=RETRY_S)
