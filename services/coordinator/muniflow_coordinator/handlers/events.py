"""Records the events of workers: many in one transaction, then acks them, then acts on them."""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from muniflow.model.ledger import LedgerUpdate
from muniflow.model.messages import Events, Settled, Tally
from muniflow.model.topology import EVENTS
from muniflow.runtime.clock import Clock
from muniflow.runtime.failpoints import Failpoints
from muniflow.runtime.loop import Loop
from muniflow.runtime.settings import variable
from muniflow.transport.types import Delivery, Transport
from muniflow_coordinator.handlers.decode import read_lost, read_message
from muniflow_coordinator.handlers.restart import apply_events
from muniflow_coordinator.handlers.step_users import StepUsers
from muniflow_coordinator.metrics import Metrics
from muniflow_coordinator.retry_queue import RetryQueue
from muniflow_coordinator.runs.runs import Run, Runs
from muniflow_coordinator.runs.signer import Signer
from muniflow_coordinator.state.types import Commit, State

log = logging.getLogger(__name__)

MAX_BUFFERED = 250
"""Messages recorded in one transaction: each holds a group of events, and the loop must not block for long."""
AWAITED_PART = 8
"""Recording is urgent when it refills a window: events for at least 1 / AWAITED_PART of a batch's images in flight.
With nothing left to dispatch it is urgent when it may end the batch: events for all of them."""
REST = 2
MAX_REST_S = 0.02
"""After a transaction, urgent events wait REST times its duration, at most this long. So an idle coordinator records
them at once, and a busy one records large groups and has time for other work."""
TALLIES_LINGER_S = 0.5
"""Tallies alone are not urgent: only the status shows them."""


@dataclass(frozen=True)
class Actions:
    """What happens after a transaction; each action may be repeated."""

    settled: Callable[[Run, LedgerUpdate], None]
    """Images of a batch are settled."""
    lost: Callable[[Run, set[int]], None]
    """The work store lost intermediates of images that are open."""
    late: Callable[[str, Iterable[int]], None]
    """`(batch, images)`: events of images that were settled before. Duplicate tasks may have written intermediates
    again."""
    completed: Callable[[Run], None]
    """All images of a batch are settled."""
    tallied: Callable[[Run, Tally], None]
    """A worker reported what it did."""
    go_on: Callable[[], None]
    """The windows may have room."""


@dataclass(slots=True)
class _Slice:
    """Messages that are recorded together."""

    deliveries: list[Delivery] = field(default_factory=list)
    events: dict[str, list[Settled]] = field(default_factory=dict)
    strange: dict[str, list[Settled]] = field(default_factory=dict)
    """Events of batches that did not run when they came: nobody has judged whether to believe them."""
    tallies: list[Tally] = field(default_factory=list)
    published_at: list[float] = field(default_factory=list)
    updates: list[tuple[Run, LedgerUpdate]] | None = None
    lost: list[tuple[Run, set[int]]] = field(default_factory=list)
    late: list[tuple[str, int]] = field(default_factory=list)
    touched: dict[int, Run] = field(default_factory=dict)


@dataclass(eq=False)
class EventHandler:
    """Handles `muniflow.events` and `muniflow.lost`."""

    loop: Loop
    clock: Clock
    transport: Transport
    state: State
    retry_queue: RetryQueue
    metrics: Metrics
    failpoints: Failpoints
    runs: Runs
    actions: Actions
    users: StepUsers
    signer: Signer
    linger_s: float
    """How long events that are not urgent wait for others, in seconds."""

    def __post_init__(self) -> None:
        """Begin with an empty slice."""
        self._before_commit = self.failpoints.at("coordinator.before_commit")
        self._after_commit = self.failpoints.at("coordinator.after_commit")
        self._after_ack = self.failpoints.at("coordinator.after_ack")
        self._part = _Slice()
        self._timer: Any = None
        self._due_s = math.inf
        self._rested_s = 0.0

    def on_delivery(self, delivery: Delivery) -> None:
        """Add a delivery to the slice that is recorded next."""
        message = self._read(delivery)
        if message is None:
            self.metrics.malformed.labels(delivery.queue).inc()
        if message is None or not self._believes(delivery, message):
            self._give_up(delivery)
            return
        self._add(delivery, message)
        if len(self._part.deliveries) >= MAX_BUFFERED:
            self.flush()
        else:
            self._flush_in(self._pause_s(message.settled))

    def _read(self, delivery: Delivery) -> Events | None:
        if delivery.queue == EVENTS:
            return read_message(Events, delivery)
        lost = read_lost(delivery)
        if lost and not self.signer.vouches(delivery.body):
            log.warning("refused: a lost task that was not signed here", extra={"batch": lost[0].batch})
            return None
        return None if lost is None else Events(settled=lost)

    def _believes(self, delivery: Delivery, message: Events) -> bool:
        """Return whether who sent a message may say all of it; of batches that do not run, nobody says anything."""
        if self.users.trusts(delivery.user_id):
            return True
        told: tuple[Settled | Tally, ...] = (*message.settled, *message.tallies)
        routes = ((event, run.batch.route) for event in told if (run := self.runs.get(event.batch)) is not None)
        if self.users.may_tell(delivery.user_id, routes, lost=delivery.queue != EVENTS):
            return True
        about = {"user": delivery.user_id, "queue": delivery.queue, "batches": sorted({e.batch[:80] for e in told})[:3]}
        log.warning("refused: its sender is not known to serve the step (%s)", variable("step_users"), extra=about)
        self.metrics.events_refused.inc()
        return False

    def _add(self, delivery: Delivery, message: Events) -> None:
        part = self._part
        part.deliveries.append(delivery)
        part.tallies += message.tallies
        self.metrics.events.inc(len(message.settled))
        if message.published_at:
            part.published_at.append(message.published_at)
        for event in message.settled:
            events = part.events if event.batch in self.runs else part.strange
            events.setdefault(event.batch, []).append(event)

    def _pause_s(self, settled: Sequence[Settled]) -> float:
        if not settled:
            return TALLIES_LINGER_S
        if self.retry_queue.waiting_for is not None or not any(map(self._urgent, {event.batch for event in settled})):
            return self.linger_s
        return max(self._rested_s - self.clock.monotonic_s(), 0.0)

    def _urgent(self, batch: str) -> bool:
        run = self.runs.get(batch)
        if run is None:
            return True
        part = AWAITED_PART if run.has_pending else 1
        return part * len(self._part.events[batch]) >= len(run.in_flight)

    def _flush_in(self, pause_s: float) -> None:
        due_s = self.clock.monotonic_s() + pause_s
        if due_s < self._due_s:
            self._forget_timer()
            self._due_s, self._timer = due_s, self.loop.call_later(pause_s, self.flush)

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self.loop.remove_timeout(self._timer)
        self._timer, self._due_s = None, math.inf

    def forget(self) -> None:
        """Drop what is not recorded: the broker delivers it again over the next connection."""
        self._part = _Slice()

    def settle(self, events: list[Settled]) -> None:
        """Record events that the coordinator itself has made."""
        part = _Slice()
        self.metrics.events.inc(len(events))
        for event in events:
            part.events.setdefault(event.batch, []).append(event)
        self.retry_queue.run(lambda: self._record(part))

    def flush(self) -> None:
        """Record all deliveries so far."""
        self._forget_timer()
        part, self._part = self._part, _Slice()
        if part.deliveries:
            began_s = self.clock.monotonic_s()
            self.retry_queue.run(lambda: self._record(part))
            ended_s = self.clock.monotonic_s()
            self._rested_s = ended_s + min(REST * (ended_s - began_s), MAX_REST_S)

    def _give_up(self, delivery: Delivery) -> None:
        if delivery.queue == EVENTS:
            self.transport.reject(delivery)
        else:
            self.transport.ack([delivery])  # a copy: the dead-letter queue of its step has the message itself

    def _record(self, part: _Slice) -> None:
        if part.updates is None:
            self._look_up(part)
            part.updates = self._apply(part)
        for tally in part.tallies:
            if (run := self.runs.get(tally.batch)) is not None:
                part.touched[run.number] = run
                self.actions.tallied(run, tally)
        part.tallies = []
        changes = self._changes(part)
        started = self.clock.monotonic_s()
        self._before_commit()
        if changes:
            self.state.commit(changes)
        self._after_commit()
        self.metrics.commit_seconds.observe(self.clock.monotonic_s() - started)
        for change in changes:
            self._adopt(change)
        self.transport.ack(part.deliveries)
        self._after_ack()
        now = self.clock.now_s()
        for published_at in part.published_at:
            self.metrics.events_lag_seconds.observe(max(now - published_at, 0.0))
        self._act(part)

    def _look_up(self, part: _Slice) -> None:
        """Open images that have events but were not dispatched since the start; collect the late ones."""
        for batch_id, events in part.events.items():
            run = self.runs.get(batch_id)
            if run is None:
                part.strange.setdefault(batch_id, []).extend(events)
                continue
            total = run.counts.total
            if unknown := {image for image in run.ledger.unknown(events) if 0 <= image < total}:
                for row, leaves in self.state.opened(run.number, unknown):
                    if row.state == "pending":
                        run.ledger.open(row.image, row.run, leaves)
        for batch_id, events in part.strange.items():
            if batch_id in self.runs:
                continue
            if (row_of_batch := self.state.find(batch_id)) is None:
                self.metrics.events_unknown.inc(len(events))
                self.runs.strangers.count(batch_id, len(events))
            elif row_of_batch.state != "intake":
                total = row_of_batch.counts.total
                part.late += [(batch_id, event.image) for event in events if 0 <= event.image < total]

    def _apply(self, part: _Slice) -> list[tuple[Run, LedgerUpdate]]:
        updates = []
        for batch_id, events in part.events.items():
            if (run := self.runs.get(batch_id)) is None:
                continue
            update, lost = apply_events(run, events)
            if lost:
                part.lost.append((run, lost))
            if update.misfits:
                log.warning("ignored events that do not match the route", extra={"batch": batch_id})
            part.late += [(batch_id, image) for image in update.late if 0 <= image < run.counts.total]
            updates.append((run, update))
        return updates

    def _changes(self, part: _Slice) -> list[Commit]:
        changes: dict[int, Commit] = {}
        for run, update in part.updates or ():
            if update.leaves or update.settled:
                failed = sum(image.state == "failed" for image in update.settled)
                counts = run.counts.plus(done=len(update.settled) - failed, failed=failed)
                change = changes[run.number] = Commit(run.number, update.leaves, update.settled, counts)
                if not counts.pending and run.state == "running" and not run.reopening:
                    change.state, change.finished_at = "finishing", self.clock.now_s()
        for number, run in part.touched.items():
            changes.setdefault(number, Commit(number)).tallies = run.tallies.write()
        return list(changes.values())

    def _adopt(self, change: Commit) -> None:
        run = self.runs.numbered(change.batch)
        if run is None or change.counts is None:
            return
        run.counts = change.counts
        if change.state is not None:
            run.state, run.finished_at = change.state, change.finished_at

    def _act(self, part: _Slice) -> None:
        now_s = self.clock.monotonic_s()
        for run, update in part.updates or ():
            for leaf in update.leaves:
                if flight := run.in_flight.get(leaf.image):
                    flight.heard_s = now_s
            self.actions.settled(run, update)
        for run, images in part.lost:
            self.actions.lost(run, images)
        for batch_id, image in part.late:
            self.actions.late(batch_id, (image,))
        for run, update in part.updates or ():
            if update.settled and run.state == "finishing":
                self.actions.completed(run)
        self.actions.go_on()
