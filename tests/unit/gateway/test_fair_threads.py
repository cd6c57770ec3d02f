"""Threads that callers share in turns."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from muniflow_gateway.app import ROUTERS
from muniflow_gateway.clients.fair_threads import ASKING, FairThreads

LIMIT_S = 60.0


class Crowd:
    """Work of callers that ends when it is told to."""

    def __init__(self, threads: int, per_caller: int) -> None:
        self.threads = FairThreads("test", threads, per_caller)
        self.began: list[str] = []
        self.ends: dict[str, threading.Event] = {}

    def asks(self, caller: str, name: str) -> "asyncio.Task[str]":
        """One more request of a caller."""
        self.ends.setdefault(name, threading.Event())
        ASKING.set(caller)
        return asyncio.create_task(self.threads.run(lambda: self._work(name)))

    def _work(self, name: str) -> str:
        self.began.append(name)
        self.ends[name].wait(LIMIT_S)
        return name

    async def begun(self, *names: str) -> None:
        """Wait until these, and only these, have begun, in any order."""
        async with asyncio.timeout(LIMIT_S):
            while set(self.began) != set(names):  # noqa: ASYNC110 - it changes in other threads
                await asyncio.sleep(0)

    def end(self) -> None:
        """Let all work end."""
        for event in self.ends.values():
            event.set()
        self.threads.close()


@pytest.fixture
def crowd() -> Iterator[Callable[[int, int], Crowd]]:
    made: list[Crowd] = []

    def make(threads: int, per_caller: int) -> Crowd:
        made.append(Crowd(threads, per_caller))
        return made[-1]

    yield make
    for each in made:
        each.end()


def test_a_crowd_of_one_leaves_threads_to_others(crowd):
    async def scenario() -> None:
        shared = crowd(4, 2)
        tasks = [shared.asks("a", f"a{number}") for number in range(10)]
        await shared.begun("a0", "a1")
        tasks += [shared.asks("b", "b0")]
        await shared.begun("a0", "a1", "b0")
        shared.end()
        assert await tasks[-1] == "b0"
        for task in tasks[:-1]:
            task.cancel()

    asyncio.run(scenario())


def test_who_waits_gets_a_turn_whatever_the_number_of_others(crowd):
    async def scenario() -> None:
        shared = crowd(1, 1)
        tasks = [shared.asks("a", f"a{number}") for number in range(5)]
        await shared.begun("a0")
        tasks += [shared.asks("b", f"b{number}") for number in range(2)]
        await asyncio.sleep(0)
        for event in shared.ends.values():
            event.set()
        assert await asyncio.gather(*tasks) == ["a0", "a1", "a2", "a3", "a4", "b0", "b1"]
        assert shared.began == ["a0", "a1", "b0", "a2", "b1", "a3", "a4"]

    asyncio.run(scenario())


def test_a_request_that_ends_leaves_the_queue_and_frees_no_thread_that_works(crowd):
    async def scenario() -> None:
        shared = crowd(1, 1)
        works, waits, last = (shared.asks("a", name) for name in ("works", "waits", "last"))
        await shared.begun("works")
        for task in (works, waits):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        assert shared.began == ["works"]
        for event in shared.ends.values():
            event.set()
        assert await last == "last"
        assert shared.began == ["works", "last"]

    asyncio.run(scenario())


def test_work_that_fails_frees_its_thread(crowd):
    async def scenario() -> None:
        shared = crowd(1, 1)
        with pytest.raises(ZeroDivisionError):
            await shared.threads.run(lambda: 1 // 0)
        shared.ends["a"] = threading.Event()
        shared.ends["a"].set()
        assert await shared.asks("a", "a") == "a"

    asyncio.run(scenario())


def depends_on(dependant: Dependant) -> Iterator[Any]:
    """Everything that is called before a route."""
    for each in dependant.dependencies:
        yield each.call
        yield from depends_on(each)


def test_no_dependency_of_a_route_waits_for_a_thread():
    """FastAPI takes plain functions into its 40 threads, where they wait behind everybody's downloads."""
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    called = {each for route in routes for each in (route.endpoint, *depends_on(route.dependant))}
    assert len(called) > len(routes)
    security = {type(each).__call__ if not hasattr(each, "__code__") else each for each in called}
    assert [each for each in security if not asyncio.iscoroutinefunction(each)] == []
