"""Work on the ledger, one piece after the other, each repeated for as long as the database is away."""

import logging
import time
from collections import deque
from collections.abc import Callable

from muniflow.errors import Unavailable
from muniflow.runtime.backoff import doubling_s
from muniflow.runtime.loop import Loop
from muniflow_coordinator.leadership.types import Deposed

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0
MAX_WAIT_S = 600.0
"""After so long without a database the process lets go of its deliveries.

RabbitMQ ends a connection that holds one for 30 minutes, and after 20 such ends it would give a message up.
"""


class RetryQueue:
    """Runs pieces of work in the order in which they came, on the loop.

    A piece that raises `Unavailable` is tried again later, and all others wait behind it. So no piece ever sees what
    another one has decided and not yet recorded. `Deposed` ends it all: another process has taken over.
    """

    def __init__(self, loop: Loop, give_up: Callable[[str], None]) -> None:
        """Wait on `loop`; call `give_up`, once, when no work may be done any more."""
        self._loop = loop
        self._give_up = give_up
        self._since_s = 0.0
        self._queue: deque[Callable[[], None]] = deque()
        self._busy = False
        self._failures = 0
        self._stopped = False
        self.waiting_for: str | None = None
        """What all work waits for, if it does."""

    def run(self, work: Callable[[], None]) -> None:
        """Do `work` now if nothing waits, else when its turn comes."""
        self._queue.append(work)
        if not self._busy:
            self._go_on()

    def stop(self) -> None:
        """Try nothing again: what waits is lost, and comes back with its deliveries."""
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
                log.info("the ledger works again", extra={"waited_for": self.waiting_for})
                self.waiting_for = None
                self._failures = 0
        self._busy = False

    def _end(self, reason: str) -> None:
        if not self._stopped:
            self._stopped = True
            # Not from within a piece of work, which may have more to say to the parts that are to end.
            self._loop.call_later(0, lambda: self._give_up(reason))

    def _wait(self, error: Unavailable) -> None:
        if self.waiting_for is None:
            log.warning("the ledger waits: %s", error)
            self._since_s = time.monotonic()
        self.waiting_for = str(error)
        if time.monotonic() - self._since_s > MAX_WAIT_S:
            self._end(self.waiting_for)
            return
        self._failures += 1
        self._loop.call_later(doubling_s(self._failures, FIRST_PAUSE_S, LONGEST_PAUSE_S), self._go_on)
