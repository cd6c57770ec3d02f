"""Holds the leader lock beside the loop, and tells the loop when this process leads and when it does not."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from muniflow.errors import MuniflowError, Rejected, Unavailable
from muniflow.runtime.clock import Clock
from muniflow.runtime.executor import Repeater
from muniflow.runtime.loop import Loop
from muniflow_coordinator.leadership.types import Lock

log = logging.getLogger(__name__)

LONGEST_PAUSE_S = 2.0


@dataclass(frozen=True)
class ElectorEvents:
    """Callbacks of an elector, on the loop."""

    elected: Callable[[], None]
    deposed: Callable[[str], None]
    """Called with the reason, once after each `elected` that ended without `stop`."""
    impossible: Callable[[Exception], None]
    """Called with the error: this process can never be elected."""


class Elector:
    """Tries to get the leader lock, renews it, loses it, tries again.

    The lock is renewed by `repeater`, not by timers of the loop: a database that answers slowly may block the loop for
    longer than the lock is valid.
    """

    def __init__(
        self,
        loop: Loop,
        clock: Clock,
        lock: Lock,
        *,
        repeater: Repeater,
        prepare: Callable[[], None],
        events: ElectorEvents,
    ) -> None:
        """Try once `prepare` has succeeded; it is called again after it raises `Unavailable`."""
        self._loop = loop
        self._clock = clock
        self._lock = lock
        self._repeater = repeater
        self._prepare = prepare
        self._events = events
        self._prepared = False
        self._had = False
        self._had_s = 0.0
        self._reported = False
        self._resigned = False
        self.stands_by = False
        """Whether another process was seen to hold the lock; false before the first attempt."""
        self.problem: str | None = None
        """Why no process can be elected now, if so."""

    def start(self) -> None:
        """Begin to try."""
        self._repeater.start(self._turn)

    def stop(self) -> None:
        """Release the lock."""
        if self._repeater.stop():  # else a request of the lock still hangs, and the end of the process releases it
            self._lock.release()

    def resign(self) -> None:
        """Release the lock and stand by, because this process cannot work. On the loop."""
        self._resigned = True
        self._repeater.wake()

    @property
    def overdue(self) -> bool:
        """Return whether the lock may be lost, although no attempt has failed. On the loop, while elected."""
        return self._had and self._clock.monotonic_s() - self._had_s > self._lock.valid_s

    def _turn(self) -> float | None:
        try:
            self._step()
        except Unavailable as error:
            self._wait(error)
            return min(self._lock.poll_s, LONGEST_PAUSE_S)
        except Exception as error:  # noqa: BLE001 - if it ended without a word, this would be a standby for ever
            self._give_up(error)
            return None
        return self._lock.renew_s if self._had else self._lock.poll_s

    def _step(self) -> None:
        if not self._prepared:
            self._prepare()
            self._prepared = True
        if self._resigned:
            self._resigned = False
            self._lose("the leader lock was released")
            return  # the pause gives the lock to another process
        asked_s = self._clock.monotonic_s()
        if self._had:
            if self._lock.renew():
                self._had_s = asked_s
            else:
                self._lose("the leader lock is lost")
        elif self._lock.acquire():
            self._had_s = asked_s
            self._had = True
            self.stands_by = self._reported = False
            self._loop.add_callback_threadsafe(self._events.elected)
        else:
            self.stands_by = True
            if not self._reported:
                self._reported = True
                log.info("standby", extra={"leader": self._lock.holder or "not known"})
        if self.problem is not None:
            log.info("leader election works again", extra={"waited_for": self.problem})
            self.problem = None

    def _lose(self, reason: str) -> None:
        self._had = False
        self._lock.release()
        self._loop.add_callback_threadsafe(lambda: self._events.deposed(reason))

    def _wait(self, error: Unavailable) -> None:
        if self.problem is None:
            log.warning("cannot elect a leader, retrying: %s", error)
        self.problem = str(error)
        if self.overdue:
            self._lose(str(error))

    def _give_up(self, error: Exception) -> None:
        if not isinstance(error, MuniflowError):
            log.error("leader election failed", exc_info=error)
            error = Rejected(f"internal error in the leader election: {type(error).__name__}: {error}")
        reason = error
        self._lock.release()
        self._loop.add_callback_threadsafe(lambda: self._events.impossible(reason))
