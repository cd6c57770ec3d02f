"""Recording what the workers report: many events in one transaction, then ack, then act."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from muniflow.model.ledger import LedgerUpdate
from muniflow.model.messages import Events, Settled, Tally
from muniflow.model.topology import EVENTS
from muniflow.transport.types import Delivery
from muniflow_coordinator.core import Core
from muniflow_coordinator.handlers.decode import read_lost, read_message
from muniflow_coordinator.runs.runs import Run
from muniflow_coordinator.state.types import Commit

log = logging.getLogger(__name__)

MAX_BUFFERED = 250
"""Messages recorded in one transaction: each holds up to a group of events, and the loop must stay lively."""
AWAITED_PART = 8
"""Events are awaited when they make this part of a batch's images in flight, because recording them refills its window;
and where nothing is left to dispatch, when they may be all of them, which ends it."""
REST = 2
MAX_REST_S = 0.02
"""Between two transactions, awaited events wait so many times as long as the last one took, and no longer than this:
an idle coordinator records them at once, a busy one in large groups, and it has time for other things."""
TALLIES_LINGER_S = 0.5
"""Nobody waits for tallies alone; they are what `status` shows between two ends of images."""


@dataclass(frozen=True)
class Actions:
    """What is to be done after a transaction; all of it may be done again."""

    settled: Callable[[Run, LedgerUpdate], None]
    """Release the window and remove intermediates of what was settled."""
    late: Callable[[str, int], None]
    """Remove the intermediates of an image that was settled before: a doubled task may have written them again."""
    completed: Callable[[Run], None]
    """All images of a batch are settled."""
    tallied: Callable[[Run, Tally], None]
    go_on: Callable[[], None]
    """There is room in the windows."""


@dataclass(slots=True)
class _Slice:
    """Messages that are recorded together."""

    deliveries: list[Delivery] = field(default_factory=list)
    events: dict[str, list[Settled]] = field(default_factory=dict)
    tallies: list[Tally] = field(default_factory=list)
    published_at: list[float] = field(default_factory=list)
    updates: list[tuple[Run, LedgerUpdate]] | None = None
    late: list[tuple[str, int]] = field(default_factory=list)
    touched: dict[int, Run] = field(default_factory=dict)


class EventHandler:
    """Takes `muniflow.events` and `muniflow.lost`."""

    def __init__(self, core: Core, actions: Actions, linger_s: float) -> None:
        """Record, then act by `actions`; events that nobody waits for wait `linger_s` seconds for company."""
        self._loop = core.loop
        self._transport = core.transport
        self._state = core.state
        self._retry_queue = core.retry_queue
        self._runs = core.runs
        self._metrics = core.metrics
        self._actions = actions
        self._linger_s = linger_s
        self._before_commit = core.failpoints.at("coordinator.before_commit")
        self._after_commit = core.failpoints.at("coordinator.after_commit")
        self._after_ack = core.failpoints.at("coordinator.after_ack")
        self._part = _Slice()
        self._timer: Any = None
        self._due_s = math.inf
        self._rested_s = 0.0

    def on_delivery(self, delivery: Delivery) -> None:
        """Keep a delivery until its slice is recorded."""
        settled = self._read(delivery)
        if settled is None:
            self._refuse(delivery)
            return
        self._part.deliveries.append(delivery)
        for event in settled:
            self._part.events.setdefault(event.batch, []).append(event)
        if len(self._part.deliveries) >= MAX_BUFFERED:
            self.flush()
        else:
            self._flush_in(self._pause_s(settled))

    def _read(self, delivery: Delivery) -> Sequence[Settled] | None:
        if delivery.queue != EVENTS:
            return read_lost(delivery)
        message = read_message(Events, delivery)
        if message is None:
            return None
        self._part.tallies += message.tallies
        if message.published_at:
            self._part.published_at.append(message.published_at)
        return message.settled

    def _pause_s(self, settled: Sequence[Settled]) -> float:
        if not settled:
            return TALLIES_LINGER_S
        if self._retry_queue.waiting_for is not None or not any(map(self._awaited, {event.batch for event in settled})):
            return self._linger_s
        return max(self._rested_s - time.monotonic(), 0.0)

    def _awaited(self, batch: str) -> bool:
        run = self._runs.get(batch)
        if run is None:
            return True
        part = AWAITED_PART if run.has_pending else 1
        return part * len(self._part.events[batch]) >= len(run.in_flight)

    def _flush_in(self, pause_s: float) -> None:
        due_s = time.monotonic() + pause_s
        if due_s < self._due_s:
            self._forget_timer()
            self._due_s = due_s
            self._timer = self._loop.call_later(pause_s, self.flush)

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._loop.remove_timeout(self._timer)
        self._timer, self._due_s = None, math.inf

    def forget(self) -> None:
        """Drop what is not recorded: it comes again over the next connection."""
        self._part = _Slice()

    def settle(self, events: list[Settled]) -> None:
        """Record what the coordinator itself has found out."""
        part = _Slice()
        for event in events:
            part.events.setdefault(event.batch, []).append(event)
        self._retry_queue.run(lambda: self._record(part))

    def flush(self) -> None:
        """Record what has come in so far."""
        self._forget_timer()
        part, self._part = self._part, _Slice()
        if part.deliveries:
            began_s = time.monotonic()
            self._retry_queue.run(lambda: self._record(part))
            ended_s = time.monotonic()
            self._rested_s = ended_s + min(REST * (ended_s - began_s), MAX_REST_S)

    def _refuse(self, delivery: Delivery) -> None:
        self._metrics.malformed.labels(delivery.queue).inc()
        if delivery.queue == EVENTS:
            self._transport.reject(delivery)
        else:
            self._transport.ack([delivery])  # a copy: the dead-letter queue of its step has the message itself

    def _record(self, part: _Slice) -> None:
        if part.updates is None:
            self._look_up(part)
            part.updates = self._judge(part)
        for tally in part.tallies:
            if (run := self._runs.get(tally.batch)) is not None:
                part.touched[run.number] = run
                self._actions.tallied(run, tally)
        part.tallies = []
        changes = self._changes(part)
        started = time.perf_counter()
        self._before_commit()
        if changes:
            self._state.commit(changes)
        self._after_commit()
        self._metrics.commit_seconds.observe(time.perf_counter() - started)
        for change in changes:
            self._adopt(change)
        self._transport.ack(part.deliveries)
        self._after_ack()
        now = time.time()
        for published_at in part.published_at:
            self._metrics.events_lag_seconds.observe(max(now - published_at, 0.0))
        self._act(part)

    def _look_up(self, part: _Slice) -> None:
        """Open the images that were heard of before they were dispatched again, and find the late ones."""
        for batch_id, events in part.events.items():
            run = self._runs.get(batch_id)
            if run is not None:
                total = run.counts.total
                if unknown := {image for image in run.ledger.unknown(events) if 0 <= image < total}:
                    for row, leaves in self._state.opened(run.number, unknown):
                        if row.state == "pending":
                            run.ledger.open(row.image, row.run, leaves)
            elif (row_of_batch := self._state.find(batch_id)) is not None and row_of_batch.state != "intake":
                total = row_of_batch.counts.total
                part.late += [(batch_id, event.image) for event in events if 0 <= event.image < total]

    def _judge(self, part: _Slice) -> list[tuple[Run, LedgerUpdate]]:
        updates = []
        for batch_id, events in part.events.items():
            self._metrics.events.inc(len(events))
            if (run := self._runs.get(batch_id)) is None:
                continue
            update = run.ledger.apply(events)
            if update.misfits:
                log.warning("events that fit no step of the route: ignored", extra={"batch": batch_id})
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
                    change.state, change.finished_at = "finishing", time.time()
        for number, run in part.touched.items():
            changes.setdefault(number, Commit(number)).tallies = run.tallies.write()
        return list(changes.values())

    def _adopt(self, change: Commit) -> None:
        run = self._runs.numbered(change.batch)
        if run is None or change.counts is None:
            return
        run.counts = change.counts
        if change.state is not None:
            run.state, run.finished_at = change.state, change.finished_at

    def _act(self, part: _Slice) -> None:
        now_s = time.monotonic()
        for run, update in part.updates or ():
            for leaf in update.leaves:
                if flight := run.in_flight.get(leaf.image):
                    flight.heard_s = now_s
            self._actions.settled(run, update)
        for batch_id, image in part.late:
            self._actions.late(batch_id, image)
        for run, update in part.updates or ():
            if update.settled and run.state == "finishing":
                self._actions.completed(run)
        self._actions.go_on()
