"""Delivers the coordinator's notices to the asyncio tasks that wait for them. Advisory, kept in memory."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from muniflow.model.messages import Notice

KEPT = 10_000
"""Submissions and rejections remembered."""
SUBMITTED_S = 3600.0


class NoticeSubscription:
    """One listener's notices of one batch."""

    def __init__(self) -> None:
        """Nothing heard yet."""
        self._notices: asyncio.Queue[Notice] = asyncio.Queue()

    def put(self, notice: Notice) -> None:
        """A notice came."""
        self._notices.put_nowait(notice)

    async def first(self, timeout_s: float) -> Notice | None:
        """The next notice, or `None` when none comes in time."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._notices.get()
        except TimeoutError:
            return None

    async def answer_to(self, message_id: str, timeout_s: float) -> Notice | None:
        """The notice that answers this message, or `None` when it does not come in time; others are passed over."""
        try:
            async with asyncio.timeout(timeout_s):
                while (notice := await self._notices.get()).message_id != message_id:
                    pass
        except TimeoutError:
            return None
        return notice


class NoticeHub:
    """Notices by batch."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Bring them to tasks of `loop`."""
        self._loop = loop
        self._listeners: dict[str, set[NoticeSubscription]] = {}
        self._submitted: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._rejected: OrderedDict[str, Notice] = OrderedDict()
        self._arrived: OrderedDict[str, None] = OrderedDict()

    def submitted(self, batch_id: str, owner: str) -> None:
        """A batch of this owner was published: the coordinator may need a moment to know it."""
        self._arrived.pop(batch_id, None)
        self._submitted[batch_id] = time.time(), owner
        _limit(self._submitted)

    def submitted_at(self, batch_id: str) -> float | None:
        """When a batch was published here lately, as unix time."""
        at, _ = self._submitted.get(batch_id, (0.0, ""))
        return at if time.time() - at < SUBMITTED_S else None

    def owner_of(self, batch_id: str) -> str | None:
        """Who sent a batch that was refused, or published here, lately."""
        if (refusal := self._rejected.get(batch_id)) is not None:
            return refusal.owner
        return None if self.submitted_at(batch_id) is None else self._submitted[batch_id][1]

    def arrived(self, batch_id: str) -> bool:
        """Whether the coordinator had a batch that was published here: where it has it no more, it was erased."""
        return batch_id in self._arrived

    def forget(self, batch_id: str) -> None:
        """Remember nothing of a batch that is erased."""
        self._rejected.pop(batch_id, None)
        self._submitted.pop(batch_id, None)  # sent again before, it would seem to be on its way

    def rejected(self, batch_id: str) -> Notice | None:
        """The refusal of a batch, if it came lately."""
        return self._rejected.get(batch_id)

    @contextmanager
    def listening(self, batch_id: str) -> Iterator[NoticeSubscription]:
        """Subscribe to the notices of a batch."""
        subscription = NoticeSubscription()
        self._listeners.setdefault(batch_id, set()).add(subscription)
        try:
            yield subscription
        finally:
            others = self._listeners[batch_id]
            others.discard(subscription)
            if not others:
                del self._listeners[batch_id]

    def on_notice(self, notice: Notice) -> None:
        """From any thread."""
        try:
            self._loop.call_soon_threadsafe(self._tell, notice)
        except RuntimeError:
            return  # the program has ended

    def _tell(self, notice: Notice) -> None:
        if notice.state == "rejected":
            self._rejected[notice.batch] = notice
            _limit(self._rejected)
        else:
            self._rejected.pop(notice.batch, None)
            self._arrived[notice.batch] = None
            _limit(self._arrived)
        for subscription in self._listeners.get(notice.batch, ()):
            subscription.put(notice)


def _limit(kept: "OrderedDict[str, Any]") -> None:
    while len(kept) > KEPT:
        kept.popitem(last=False)
