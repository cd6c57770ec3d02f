"""The life of a coordinator process: standby, leader, standby again, end."""

import logging
from collections.abc import Callable

from muniflow.runtime.clock import Clock
from muniflow.runtime.executor import Repeater
from muniflow.runtime.heartbeat import Heartbeat
from muniflow.runtime.loop import Loop
from muniflow_coordinator.api.view import View
from muniflow_coordinator.coordinator import Coordinator
from muniflow_coordinator.leadership.elector import Elector, ElectorEvents
from muniflow_coordinator.leadership.types import Lock
from muniflow_coordinator.metrics import Live
from muniflow_coordinator.retry_queue import GiveUp
from muniflow_coordinator.state.types import State

log = logging.getLogger(__name__)

Make = Callable[[GiveUp], Coordinator]
"""Makes the coordinator of one term."""


class Process:
    """A coordinator process: it makes a new coordinator each time that it is elected."""

    def __init__(self, loop: Loop, clock: Clock, state: State, *, lock: Lock, repeater: Repeater, make: Make) -> None:
        """Try to hold `lock` by `repeater`; call `make(give_up)` after each election."""
        self._loop = loop
        self._state = state
        self._make = make
        events = ElectorEvents(self._lead, self._stand_by, self._fail)
        self.elector = Elector(loop, clock, lock, repeater=repeater, prepare=state.prepare, events=events)
        self.coordinator: Coordinator | None = None
        self.error: Exception | None = None
        """Why the process ended by itself."""
        self._heartbeat = Heartbeat(loop, on_beat=self._check_lock, clock=clock)
        self._draining = False

    def start(self) -> None:
        """Stand by."""
        self._heartbeat.start()
        self.elector.start()

    def run(self) -> None:
        """Run the loop until `stop`."""
        self._loop.start()

    def _check_lock(self) -> None:
        if self.coordinator is not None and self.elector.overdue:
            self.give_up("the leader lock could not be renewed in time")

    # Called from the HTTP server's threads

    def alive(self) -> bool:
        """Return whether the loop runs."""
        return self._heartbeat.alive()

    def view(self) -> View | None:
        """Return the view of the coordinator while this process leads."""
        coordinator = self.coordinator
        return None if coordinator is None else coordinator.view

    def why_not_ready(self) -> str | None:
        """Return why it can neither work nor answer now, or `None`. A standby is ready: it answers, and takes over."""
        coordinator = self.coordinator
        if self._draining:
            return "draining"
        if coordinator is not None:
            return coordinator.why_not_ready()
        # A single one is not ready before it leads: whoever started it may publish to its queues then.
        return self.elector.problem or (None if self.elector.stands_by else "leader election in progress")

    def part(self) -> str:
        """Return `leader` or `standby`."""
        return "standby" if self.coordinator is None else "leader"

    def live(self) -> Live:
        """Return the present gauges."""
        coordinator = self.coordinator
        if coordinator is not None:
            return coordinator.live()
        waiting = self.elector.problem is not None
        return Live({}, pending=0, in_flight=0, oldest_s=0.0, cleanup=0, waiting=waiting, leader=False)

    # On the loop

    def stop(self) -> None:
        """Drain, then end; called again, end at once."""
        if self._draining or self.coordinator is None:
            self._loop.stop()
            return
        log.info("draining")
        self._draining = True
        self.coordinator.stop(self._loop.stop)

    def end(self) -> None:
        """Stop all background work and release the leader lock. After the loop."""
        if self.coordinator is not None:
            self.coordinator.halt()
        self.elector.stop()

    def give_up(self, reason: str) -> None:
        """Stop working, although the lock is not known to be lost, and release it."""
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
        coordinator.transport.stop(lambda: None)
        coordinator.halt()

    def _fail(self, error: Exception) -> None:
        self.error = error
        self.stop()
