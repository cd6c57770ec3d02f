"""Requests that wait for the end of a batch: woken by its notice, cheap for the coordinator, never for ever."""

import asyncio
from typing import Any

import pytest

from muniflow.errors import NotFound, Unavailable
from muniflow.model.api import BatchStatus
from muniflow.model.messages import Notice
from muniflow_gateway.clients.follow import WAIT_POLL_S, Follower
from muniflow_gateway.clients.notices import NoticeHub

LONG_S = 3600.0
WAITERS = 500
RUNNING = BatchStatus(batch_id="b", state="running", destination="out/b", total=9)


class _Coordinator:
    def __init__(self) -> None:
        self.status = RUNNING
        self.away = False
        self.asked = 0

    async def batch(self, batch_id: str) -> BatchStatus:
        self.asked += 1
        if self.away:
            raise Unavailable("the coordinator", "a test")
        if batch_id != "b":
            raise NotFound("there is no such batch")
        return self.status

    async def rejections(self, **_: Any) -> Any:
        raise NotFound("none")


class _Gateway:
    """The parts of a gateway that such a request needs."""

    def __init__(self) -> None:
        self.coordinator = _Coordinator()
        self.hub = NoticeHub(asyncio.get_running_loop())
        stub: Any = self.coordinator
        self.follower = Follower(stub, self.hub)
        self.gone = False

    async def given_up(self) -> bool:
        return self.gone

    def wait(self, seconds: float = LONG_S) -> "asyncio.Task[Any]":
        return asyncio.create_task(self.follower.wait("b", seconds, self.given_up, None))

    def end(self) -> None:
        """As a coordinator does it: first the notice, then the record."""
        self.hub.on_notice(Notice(batch="b", state="done", total=9, done=9))
        self.coordinator.status = RUNNING.model_copy(update={"state": "done", "done": 9})


async def settled(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # it looks at counters, which set no event
            await asyncio.sleep(0.01)


def test_hundreds_wait_and_the_notice_of_the_end_wakes_them_all() -> None:
    async def scene() -> None:
        gateway = _Gateway()
        waiting = [gateway.wait() for _ in range(WAITERS)]
        await settled(lambda: gateway.coordinator.asked >= WAITERS)
        before = gateway.coordinator.asked
        gateway.end()
        async with asyncio.timeout(60):
            views = await asyncio.gather(*waiting)
        assert {view.state for view in views} == {"done"}
        assert gateway.coordinator.asked - before <= 2 * WAITERS, "each asks after the notice, and once more at most"

    asyncio.run(scene())


def test_an_end_whose_notice_was_missed_is_found_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muniflow_gateway.clients.follow.WAIT_POLL_S", 0.05)

    async def scene() -> None:
        gateway = _Gateway()
        waiting = gateway.wait()
        await settled(lambda: gateway.coordinator.asked > 1)
        gateway.coordinator.away = True
        await settled(lambda: gateway.coordinator.asked > 3)
        assert not waiting.done()
        gateway.coordinator.status = RUNNING.model_copy(update={"state": "failed"})
        gateway.coordinator.away = False
        async with asyncio.timeout(60):
            assert (await waiting).state == "failed"

    assert WAIT_POLL_S > 1
    asyncio.run(scene())


def test_after_its_time_the_answer_is_the_batch_as_it_is_then() -> None:
    async def scene() -> None:
        gateway = _Gateway()
        waiting = gateway.wait(0.3)
        await settled(lambda: gateway.coordinator.asked)
        gateway.coordinator.status = RUNNING.model_copy(update={"done": 4})
        async with asyncio.timeout(60):
            view = await waiting
        assert (view.state, view.done) == ("running", 4)

    asyncio.run(scene())


def test_a_request_that_nobody_waits_for_ends() -> None:
    """Its client went away, or the process drains: the next one is asked instead."""

    async def scene() -> None:
        gateway = _Gateway()
        waiting = gateway.wait()
        await settled(lambda: gateway.coordinator.asked)
        gateway.gone = True
        async with asyncio.timeout(60):
            assert (await waiting).state == "running"

    asyncio.run(scene())


def test_a_batch_that_is_accepted_while_the_coordinator_answers_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        gateway = _Gateway()
        gateway.hub.submitted("b", "default")
        known = gateway.coordinator.batch

        async def too_early(batch_id: str) -> BatchStatus:
            monkeypatch.setattr(gateway.coordinator, "batch", known)
            gateway.hub.on_notice(Notice(batch=batch_id, state="running", total=9))  # before this answer is read
            await asyncio.sleep(0)
            raise NotFound("there is no such batch")

        monkeypatch.setattr(gateway.coordinator, "batch", too_early)
        assert (await gateway.follower.now("b", None)).state == "running"

    asyncio.run(scene())


def test_a_batch_that_is_not_there_is_not_waited_for() -> None:
    async def scene() -> None:
        gateway = _Gateway()
        with pytest.raises(NotFound):
            await gateway.follower.wait("other", LONG_S, gateway.given_up, None)

    asyncio.run(scene())


def test_the_report_of_a_batch_whose_end_is_being_recorded_is_waited_for() -> None:
    """The last notice comes before the record of the end, and who hears it asks for the report at once."""

    async def scene() -> None:
        gateway = _Gateway()
        gateway.coordinator.status = RUNNING.model_copy(update={"state": "finishing", "done": 9})
        asking = asyncio.create_task(gateway.follower.report_key("b"))
        await settled(lambda: gateway.coordinator.asked)
        gateway.coordinator.status = RUNNING.model_copy(update={"state": "done", "report": "out/b/report.json"})
        assert await asking == "out/b/report.json"

        gateway.coordinator.status = RUNNING
        with pytest.raises(NotFound, match="the batch is running"):
            await gateway.follower.report_key("b")

    asyncio.run(scene())
