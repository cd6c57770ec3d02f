"""The thread that gets a claim, keeps it, and tells the loop."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from muniflow.errors import MuniflowError, Rejected, Unavailable
from muniflow.runtime.loop import Loop
from muniflow_coordinator.leadership.types import Lock

log = logging.getLogger(__name__)

LONGEST_PAUSE_S = 2.0
STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Turns:
    """What happens to the owner, on the loop."""

    elected: Callable[[], None]
    deposed: Callable[[str], None]
    """With the reason; comes once after each `elected` that ended by itself."""
    impossible: Callable[[Exception], None]
    """It will never be elected: the error says why."""


class Elector:
    """Stands by, is elected, keeps the claim, loses it, stands by again."""

    def __init__(self, loop: Loop, lock: Lock, prepare: Callable[[], None], turns: Turns) -> None:
        """Keep `claim` once `prepare` has worked; it may raise `Unavailable` and is then called again."""
        self._loop = loop
        self._lock = lock
        self._prepare = prepare
        self._turns = turns
        self._prepared = False
        self._had = False
        self._had_s = 0.0
        self._told = False
        self._resigned = threading.Event()
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="leadership", daemon=True)
        self.stands_by = False
        """Whether another process was seen to have the claim; not before the first try."""
        self.problem: str | None = None
        """Why nobody can be elected now, if that is so."""

    def start(self) -> None:
        """Begin to try."""
        self._thread.start()

    def stop(self) -> None:
        """Give the claim back, and wait for that."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT_S)

    def resign(self) -> None:
        """Give the claim back and stand by: the owner cannot work with it. On the loop."""
        self._resigned.set()
        self._wake.set()

    @property
    def overdue(self) -> bool:
        """Whether the claim may be lost without anybody having said so. On the loop, while elected."""
        return self._had and time.monotonic() - self._had_s > self._lock.valid_s

    def _serve(self) -> None:
        pause_s = 0.0
        while not self._stopping.is_set():
            try:
                self._step()
                pause_s = self._lock.renew_s if self._had else self._lock.poll_s
            except Unavailable as error:
                self._troubled(error)
                pause_s = min(self._lock.poll_s, LONGEST_PAUSE_S)
            except Exception as error:  # noqa: BLE001 - a thread that ends silently would leave a standby for ever
                self._give_up(error)
                return
            self._wake.wait(pause_s)
            self._wake.clear()
        self._lock.release()

    def _step(self) -> None:
        if not self._prepared:
            self._prepare()
            self._prepared = True
        if self._resigned.is_set():
            self._resigned.clear()
            self._lose("the claim was given back")
            return  # with a pause, so that another one can have it
        asked_s = time.monotonic()
        if self._had:
            if self._lock.renew():
                self._had_s = asked_s
            else:
                self._lose("the claim is lost")
        elif self._lock.acquire():
            self._had_s = asked_s
            self._had = True
            self.stands_by = self._told = False
            self._loop.add_callback_threadsafe(self._turns.elected)
        else:
            self.stands_by = True
            if not self._told:
                self._told = True
                log.info("standby", extra={"leader": self._lock.holder or "not known"})
        self._untroubled()

    def _lose(self, reason: str) -> None:
        self._had = False
        self._lock.release()
        self._loop.add_callback_threadsafe(lambda: self._turns.deposed(reason))

    def _troubled(self, error: Unavailable) -> None:
        if self.problem is None:
            log.warning("the election waits: %s", error)
        self.problem = str(error)
        if self.overdue:
            self._lose(str(error))

    def _untroubled(self) -> None:
        if self.problem is not None:
            log.info("the election works again", extra={"waited_for": self.problem})
            self.problem = None

    def _give_up(self, error: Exception) -> None:
        if not isinstance(error, MuniflowError):
            log.error("the election failed", exc_info=error)
            error = Rejected(f"internal error in the election: {type(error).__name__}: {error}")
        reason = error
        self._lock.release()
        self._loop.add_callback_threadsafe(lambda: self._turns.impossible(reason))
