"""Where a batch is now, and following it to its end."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from muniflow.errors import MuniflowError, NotFound, Unavailable
from muniflow.model.api import BatchStatus, ImageList
from muniflow.model.api_failures import FaultEntry, Rejection
from muniflow.model.messages import TERMINAL
from muniflow.model.owners import DEFAULT_OWNER
from muniflow_gateway.clients.coordinator import NO_BATCH, CoordinatorClient
from muniflow_gateway.clients.notices import NoticeHub
from muniflow_gateway.schemas import BatchView, batch_view, rejected_view

POLL_S = 0.5
SLOW_POLL_S = 2.0
WAIT_POLL_S = 5.0
"""Who waits for an end asks so seldom: only for the case that its notice was missed."""
END_POLL_S = 0.1
KEEP_ALIVE_S = 15.0
STOP_CHECK_S = 1.0
PAGE = 500
OWNERS_KEPT = 10_000


Answer = TypeVar("Answer")
GivenUp = Callable[[], Awaitable[bool]]
"""Whether nobody waits for the answer any more, or the process drains."""


class Follower:
    """Reads batches, with what is known here of those that the coordinator does not know (yet)."""

    def __init__(self, coordinator: CoordinatorClient, notices: NoticeHub) -> None:
        """Ask `coordinator`."""
        self._coordinator = coordinator
        self._notices = notices
        self._owners: OrderedDict[str, str] = OrderedDict()
        """Of batches that the coordinator has accepted: that never changes."""

    async def require_seen(self, batch_id: str, only: str | None) -> None:
        """Refuse who may not see a batch as if there were none.

        Args:
            batch_id: of the batch.
            only: the one owner whose batches may be seen; `None`: every one's.

        Raises:
            NotFound: it is not known, or of another owner.
            Unavailable: the coordinator is away, and who sent it is not known here.
        """
        owner = self._owners.get(batch_id)
        if owner is None:
            try:
                status = await self._coordinator.batch(batch_id)
            except MuniflowError as error:
                sender = self._notices.owner_of(batch_id)
                if (sender is None or only not in {None, sender}) and not await self._was_rejected(
                    batch_id, only, error
                ):
                    raise
                return
            owner = status.owner
            if status.state != "intake":  # until then it may be refused, and its id be free again
                self._owners[batch_id] = owner
                if len(self._owners) > OWNERS_KEPT:
                    self._owners.popitem(last=False)
        if only not in {None, owner}:
            raise NotFound(NO_BATCH)

    async def now(self, batch_id: str, only: str | None) -> BatchView:
        """A batch now; of those that were refused under this id, and of those on their way, one of the owner `only`.

        Raises:
            NotFound: nobody knows it.
            Unavailable: the coordinator is away and it was not submitted here.
        """
        try:
            return batch_view(await self._ask(batch_id, lambda: self._coordinator.batch(batch_id)))
        except MuniflowError as error:
            view = self._known_here(batch_id, error, only)
            if view is None and isinstance(error, NotFound):
                view = await self._rejected(batch_id, only)
            if view is None:
                raise
            return view

    async def _ask(self, batch_id: str, question: Callable[[], Awaitable[Answer]]) -> Answer:
        """Ask the coordinator about a batch, once more where it was accepted while a "no such batch" was on its way."""
        try:
            return await question()
        except NotFound:
            if not self._notices.arrived(batch_id):
                raise
            return await question()  # if it was erased, it says so again

    async def wait(self, batch_id: str, timeout_s: float, given_up: GivenUp, only: str | None) -> BatchView:
        """A batch at its end; or as it is after `timeout_s`, or once the request is given up.

        It waits for the notice of the end, and asks the coordinator seldom: a thousand may wait.

        Raises:
            MuniflowError: as `now` does, at the beginning and after the time; a coordinator that is away meanwhile is
                no error.
        """
        with self._notices.listening(batch_id) as subscription:
            view, asked_s, hurry_until_s = await self.now(batch_id, only), time.monotonic(), 0.0
            end_s = asked_s + timeout_s
            while view.state not in TERMINAL and not await given_up():
                now_s = time.monotonic()
                if now_s >= end_s:
                    return await self.now(batch_id, only)
                pause_s = END_POLL_S if now_s < hurry_until_s else WAIT_POLL_S
                notice = await subscription.first(min(pause_s, end_s - now_s, STOP_CHECK_S))
                if notice is not None and notice.state in TERMINAL:
                    # The coordinator records the end once this notice is confirmed.
                    hurry_until_s, pause_s = now_s + WAIT_POLL_S, 0.0
                if time.monotonic() - asked_s >= pause_s:
                    with suppress(Unavailable):
                        view = await self.now(batch_id, only)
                    asked_s = time.monotonic()
            return view

    async def report_key(self, batch_id: str) -> str:
        """The key of the report of a batch that has ended.

        One that is just ending is waited for: who has heard its last notice may ask before its end is recorded.

        Raises:
            NotFound: nobody knows the batch, or it has not ended.
            Unavailable: the coordinator is away.
        """
        status = await self._coordinator.batch(batch_id)
        end_s = time.monotonic() + WAIT_POLL_S
        while status.state == "finishing" and time.monotonic() < end_s:
            await asyncio.sleep(END_POLL_S)
            status = await self._coordinator.batch(batch_id)
        if status.report is None:
            raise NotFound(f"the batch is {status.state}: its report is written at its end")
        return status.report

    async def changes(self, batch_id: str, only: str | None) -> AsyncIterator[BatchView]:
        """A batch now, and again whenever something has changed, until it is in a terminal state.

        Raises:
            MuniflowError: as `now` does.
        """
        last: BatchView | None = None
        with self._notices.listening(batch_id) as subscription:
            while last is None or last.state not in TERMINAL:
                view = await self.now(batch_id, only)
                if view != last:
                    last = view
                    yield view
                if view.state not in TERMINAL:
                    await subscription.first(POLL_S)

    async def events(self, batch_id: str, over: Callable[[], bool], only: str | None) -> AsyncIterator[bytes]:
        """A batch as server-sent events: `progress` with the batch at each change, `end` with it at its end.

        `over` ends the stream in its middle, within a second: the client asks again, of another process or in vain.
        """
        yield b"retry: 2000\n\n"
        queue: asyncio.Queue[BatchView] = asyncio.Queue(maxsize=1)
        feeding = asyncio.ensure_future(self._feed(batch_id, queue, only))
        try:
            quiet_s = 0.0
            while not over():
                try:
                    async with asyncio.timeout(STOP_CHECK_S):
                        view = await queue.get()
                except TimeoutError:
                    quiet_s += STOP_CHECK_S
                    if quiet_s >= KEEP_ALIVE_S:
                        quiet_s = 0.0
                        yield b": still here\n\n"
                    continue
                name = "end" if view.state in TERMINAL else "progress"
                yield f"event: {name}\ndata: {view.model_dump_json()}\n\n".encode()
                if name == "end":
                    return
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)

    async def _feed(self, batch_id: str, queue: "asyncio.Queue[BatchView]", only: str | None) -> None:
        """Put every change into `queue`, whatever happens to the coordinator meanwhile."""
        while True:
            try:
                async for view in self.changes(batch_id, only):
                    await queue.put(view)
                    if view.state in TERMINAL:
                        return
            except MuniflowError:
                await asyncio.sleep(SLOW_POLL_S)

    async def images(
        self, batch_id: str, *, state: str | None = None, after: int | None = None, limit: int = 100
    ) -> ImageList:
        """A page of images; an empty one of a batch that is on its way.

        Raises:
            MuniflowError: the batch is not known, or the coordinator is away.
        """
        try:
            return await self._ask(
                batch_id, lambda: self._coordinator.images(batch_id, state=state, after=after, limit=limit)
            )
        except NotFound as error:
            if self._known_here(batch_id, error, None) is None:
                raise
            return ImageList(images=())

    async def output_keys(self, batch_id: str) -> AsyncIterator[str]:
        """The keys of all outputs of a batch, image by image.

        Raises:
            MuniflowError: the batch is not known, or the coordinator is away.
        """
        after: int | None = None
        while True:
            page = await self._coordinator.images(batch_id, state="done", after=after, limit=PAGE)
            for image in page.images:
                for key in image.outputs:
                    yield key
            after = page.next
            if after is None:
                return

    async def _rejected(self, batch_id: str, only: str | None) -> BatchView | None:
        """The last rejection of a batch that neither the coordinator nor this process knows."""
        found = (await self._coordinator.rejections(batch=batch_id, owner=only, limit=1)).rejections
        seen = [each for each in found if only in {None, each.owner}]
        return rejected_view(seen[0]) if seen else None

    async def _was_rejected(self, batch_id: str, only: str | None, error: MuniflowError) -> bool:
        return isinstance(error, NotFound) and await self._rejected(batch_id, only) is not None

    def _known_here(self, batch_id: str, error: MuniflowError, only: str | None) -> BatchView | None:
        """What was submitted here and is not with the coordinator: on its way, or refused."""
        if only not in {None, self._notices.owner_of(batch_id)}:
            return None
        submitted_at = self._notices.submitted_at(batch_id)
        if (notice := self._notices.rejected(batch_id)) is not None and isinstance(error, NotFound):
            faults = tuple(FaultEntry.model_validate({"place": "", "problem": ""} | fault) for fault in notice.faults)
            told = {"owner": notice.owner, "name": notice.name or "", "municipality": notice.municipality}
            return rejected_view(Rejection(batch_id=batch_id, at=notice.at, faults=faults, **told))
        if submitted_at is None or (isinstance(error, NotFound) and self._notices.arrived(batch_id)):
            return None
        waiting_for = (
            None if isinstance(error, NotFound) and time.time() - submitted_at < SLOW_POLL_S else "coordinator"
        )
        return batch_view(
            BatchStatus(
                batch_id=batch_id,
                owner=self._notices.owner_of(batch_id) or DEFAULT_OWNER,
                state="intake",
                destination="",
                submitted_at=submitted_at,
                waiting_for=waiting_for,
            )
        )
