"""The coordinator's life beside its loop: standby, at work, standby again, end."""

import logging
from collections.abc import Callable

from muniflow.runtime.heartbeat import Heartbeat
from muniflow.runtime.loop import Loop
from muniflow_coordinator.coordinator import Coordinator
from muniflow_coordinator.core import Core
from muniflow_coordinator.leadership.elector import Elector, Turns
from muniflow_coordinator.leadership.types import Lock
from muniflow_coordinator.metrics import Live
from muniflow_coordinator.state.types import State

log = logging.getLogger(__name__)

"""A loop that did not turn for this long is stuck; the longest piece of work on it is one slice of a transaction."""

Make = Callable[[Callable[[str], None]], Coordinator]
"""A fresh coordinator, from what it is to call when it must not work any more."""


class Process:
    """The coordinator's life beside its loop: standby, at work, standby again, end."""

    def __init__(self, loop: Loop, state: State, lock: Lock, make: Make) -> None:
        """Make a coordinator with `make(give_up)` each time that `claim` is won."""
        self._loop = loop
        self._state = state
        self._make = make
        turns = Turns(self._lead, self._stand_by, self._fail)
        self.elector = Elector(loop, lock, state.prepare, turns)
        self.coordinator: Coordinator | None = None
        self.error: Exception | None = None
        """Why it ended by itself."""
        self._heartbeat = Heartbeat(loop, on_beat=self._check_claim)
        self._draining = False

    def start(self) -> None:
        """Stand by."""
        self._heartbeat.start()
        self.elector.start()

    def run(self) -> None:
        """Turn the loop until `stop`."""
        self._loop.start()

    def _check_claim(self) -> None:
        if self.coordinator is not None and self.elector.overdue:
            self.give_up("the claim could not be renewed in time")

    # Called from the HTTP server's threads

    def alive(self) -> bool:
        """Whether the loop turns."""
        return self._heartbeat.alive()

    def core(self) -> Core | None:
        """The parts of the coordinator while this process works."""
        coordinator = self.coordinator
        return None if coordinator is None else coordinator.core

    def why_not_ready(self) -> str | None:
        """Why it can neither work nor answer now, or `None`. A standby is ready: it answers, and takes over."""
        core = self.core()
        if self._draining:
            return "draining"
        if core is None:
            # One that is alone is not ready before it works: who started it may publish to its queues then.
            return self.elector.problem or (None if self.elector.stands_by else "it is not known yet which one works")
        if core.retry_queue.waiting_for is not None:
            return core.retry_queue.waiting_for
        return None if core.transport.connected else f"not connected to the broker: {core.transport.disconnect_reason}"

    def part(self) -> str:
        """`leader` or `standby`."""
        return "standby" if self.coordinator is None else "leader"

    def live(self) -> Live:
        """What is measured now."""
        coordinator = self.coordinator
        if coordinator is not None:
            return coordinator.live()
        waiting = self.elector.problem is not None
        return Live({}, pending=0, in_flight=0, oldest_s=0.0, cleanup=0, waiting=waiting, leader=False)

    # On the loop

    def stop(self) -> None:
        """Record and ack what has come, then end; called again, end at once."""
        if self._draining or self.coordinator is None:
            self._loop.stop()
            return
        log.info("draining")
        self._draining = True
        self.coordinator.stop(self._loop.stop)

    def end(self) -> None:
        """End all threads; a successor need not wait. After the loop."""
        if self.coordinator is not None:
            self.coordinator.halt()
        self.elector.stop()

    def give_up(self, reason: str) -> None:
        """Stop working although the claim is not lost, as far as its keeper knows."""
        self._stand_by(reason)
        self.elector.resign()

    def _lead(self) -> None:
        if self.coordinator is None and not self._draining:
            self.coordinator = self._make(self.give_up)
            self.coordinator.start()

    def _stand_by(self, reason: str) -> None:
        coordinator = self.coordinator
        if coordinator is None or self._draining:
            return
        log.warning("no longer the leader: %s", reason)
        self.coordinator = None
        self._state.resign()
        coordinator.core.transport.stop(lambda: None)
        coordinator.halt()

    def _fail(self, error: Exception) -> None:
        self.error = error
        self.stop()
