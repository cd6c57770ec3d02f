"""Runs the work that needs the database: one piece after the other, each retried while the database is unavailable."""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from muniflow.errors import Unavailable
from muniflow.runtime.backoff import doubling_s
from muniflow.runtime.clock import Clock
from muniflow.runtime.loop import Loop
from muniflow_coordinator.errors import Deposed

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0
MAX_WAIT_S = 600.0
"""After so long without a database the process gives up its deliveries.

RabbitMQ closes a connection that holds a delivery for 30 minutes, and after 20 of them it gives the message up.
"""

GiveUp = Callable[[str], None]
"""Called with the reason, at most once, on the loop, when no work may be done any more."""


@dataclass(eq=False)
class RetryQueue:
    """Runs pieces of work in order, on the loop.

    A piece that raises `Unavailable` is retried later, and all later pieces wait behind it. So no piece sees a decision
    of another one that is not recorded yet. `Deposed` ends the queue: another process has taken over.
    """

    loop: Loop
    clock: Clock
    give_up: GiveUp
    waiting_for: str | None = field(init=False, default=None)
    """Why all work waits, if it does."""
    _since_s: float = field(init=False, default=0.0)
    _queue: deque[Callable[[], None]] = field(init=False, default_factory=deque)
    _busy: bool = field(init=False, default=False)
    _failures: int = field(init=False, default=0)
    _stopped: bool = field(init=False, default=False)

    def run(self, work: Callable[[], None]) -> None:
        """Run `work` now if the queue is empty, else in its turn."""
        self._queue.append(work)
        if not self._busy:
            self._go_on()

    def stop(self) -> None:
        """Run nothing more. Waiting work is dropped; it comes back with its deliveries."""
        self._stopped = True

    def _go_on(self) -> None:
        self._busy = True
        while self._queue and not self._stopped:
            try:
                self._queue[0]()
            except Unavailable as error:
                self._wait(error)
                return
            except Deposed as deposed:
                self._end(str(deposed))
                return
            except BaseException:
                self._queue.popleft()
                self._busy = False
                raise
            self._queue.popleft()
            if self.waiting_for is not None:
                log.info("database available again", extra={"waited_for": self.waiting_for})
                self.waiting_for = None
                self._failures = 0
        self._busy = False

    def _end(self, reason: str) -> None:
        if not self._stopped:
            self._stopped = True
            # Later: the present piece of work may still use the parts that `give_up` stops.
            self.loop.call_later(0, lambda: self.give_up(reason))

    def _wait(self, error: Unavailable) -> None:
        now_s = self.clock.monotonic_s()
        if self.waiting_for is None:
            log.warning("database unavailable, retrying: %s", error)
            self._since_s = now_s
        self.waiting_for = str(error)
        if now_s - self._since_s > MAX_WAIT_S:
            self._end(self.waiting_for)
            return
        self._failures += 1
        self.loop.call_later(doubling_s(self._failures, FIRST_PAUSE_S, LONGEST_PAUSE_S), self._go_on)
