"""Threads for work that blocks, shared by callers in turns: no crowd of requests of one holds up those of another."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
ASKING: ContextVar[str] = ContextVar("asking", default="")
"""Whose request is being served, `Caller.identity`; empty: the gateway's own work. Each request has a value of its own.

What is shared lies layers below the routes, which do not pass on who asks.
"""


class FairThreads:
    """So many threads. Where all work, those who wait get one in turn, whatever the number of requests of each."""

    def __init__(self, name: str, threads: int, per_caller: int) -> None:
        """Make `threads`; one caller has at most `per_caller` of them at a time. `name` begins their names."""
        self._pool = ThreadPoolExecutor(threads, name)
        self._free = threads
        self._per_caller = per_caller
        self._taken: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        """By caller, whose turn is next first."""

    async def run(self, work: Callable[[], T]) -> T:
        """Call `work()` in a thread, once it is the turn of the request that is being served."""
        caller, loop = ASKING.get(), asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        self._deal()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it was given at the same moment
                self._leave(caller)
            raise
        running = loop.run_in_executor(self._pool, work)
        running.add_done_callback(lambda _: self._leave(caller))
        return await asyncio.shield(running)  # a request that ends frees no thread

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _leave(self, caller: str) -> None:
        self._free += 1
        self._taken[caller] -= 1
        if not self._taken[caller]:
            del self._taken[caller]
        self._deal()

    def _deal(self) -> None:
        """Give what is free to those who wait."""
        while self._free:
            caller = next((one for one in self._waiting if self._taken[one] < self._per_caller), None)
            if caller is None:
                return
            turn = self._waiting[caller].popleft()
            self._waiting.move_to_end(caller)
            if not self._waiting[caller]:
                del self._waiting[caller]
            if not turn.done():  # its request has ended
                self._free -= 1
                self._taken[caller] += 1
                turn.set_result(None)
