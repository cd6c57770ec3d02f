"""Keeps beside the ledger what forecasts are better with: some time after a change, and never in the ledger's way."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from muniflow.runtime.loop import Loop
from muniflow_coordinator.retry_queue import RetryQueue

log = logging.getLogger(__name__)

Work = Callable[[], None]


@dataclass(eq=False)
class Saver:
    """Writes the changes of some time together. On the loop.

    No error here stops the ledger: it is logged once, and what could not be read or written is tried again.
    """

    loop: Loop
    retry_queue: RetryQueue
    pause_s: float
    """From a change to its write."""
    on_time: Work
    """Called after that; calls `save`."""
    read: Work
    """Reads what earlier terms have kept; before the first write, if it failed at the start."""
    write: Work
    """Writes what has changed."""
    pending: Callable[[], bool]
    """Whether something has changed since."""
    warning: str
    """What an error means."""
    retries: bool
    """Whether a write that failed is tried again by itself, or with the next change."""
    _timer: Any = field(init=False, default=None)
    _loaded: bool = field(init=False, default=False)
    _failed: bool = field(init=False, default=False)

    def load(self) -> None:
        """Read what earlier terms have kept."""
        self._guarded(self._load)

    def changed(self) -> None:
        """Write soon."""
        if self._timer is None:
            self._timer = self.loop.call_later(self.pause_s, self._on_timer)

    def save(self) -> bool:
        """Write what is not written yet, unless the ledger itself waits for the database; returns whether it tried."""
        if not self.pending() or self.retry_queue.waiting_for is not None:
            return False
        self._guarded(self._save)
        return True

    def stop(self) -> None:
        """Write nothing more."""
        if self._timer is not None:
            self.loop.remove_timeout(self._timer)
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        self.on_time()
        if self.pending() and (self.retries or not self._failed):
            self.changed()

    def _load(self) -> None:
        self.read()
        self._loaded = True

    def _save(self) -> None:
        if not self._loaded:
            self._load()
        self.write()

    def _guarded(self, work: Work) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - a forecast that is worse must never stop the ledger
            if not self._failed:
                log.warning("%s: %s", self.warning, error)
            self._failed = True
        else:
            self._failed = False
