"""Begins images again whose intermediates the work store has lost.

Intermediates are not synced (docs/adr/0036-lost-intermediates.md): a power failure may take them, or leave them empty,
while the tasks that read them are safe with the broker. An image in a new run has new intermediates, and events of its
earlier tasks change nothing.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from muniflow.model.ledger import LedgerUpdate
from muniflow.model.messages import Settled
from muniflow.runtime.clock import Clock
from muniflow_coordinator.handlers.dispatcher import Dispatcher
from muniflow_coordinator.handlers.redispatch import MAX_AGAIN
from muniflow_coordinator.metrics import Metrics
from muniflow_coordinator.retry_queue import RetryQueue
from muniflow_coordinator.runs.runs import Run
from muniflow_coordinator.state.types import State

log = logging.getLogger(__name__)


def apply_events(run: Run, events: Sequence[Settled]) -> tuple[LedgerUpdate, set[int]]:
    """Apply events to the ledger of a batch, except those that say that an intermediate is gone.

    Returns:
        What changed, and the open images that begin again. One that this coordinator has not dispatched yet is in
        neither: its turn comes. One that began again `MAX_AGAIN` times fails.
    """
    gone: list[Settled] = []
    others: list[Settled] = []
    for event in events:
        (gone if event.input_gone and _may_begin_again(run, event.image) else others).append(event)
    update = run.ledger.apply(others)
    update.late |= {event.image for event in gone if event.image not in run.ledger}
    again = {event.image for event in gone if run.ledger.awaits(event)}
    return update, again & run.in_flight.keys()


def _may_begin_again(run: Run, image: int) -> bool:
    flight = run.in_flight.get(image)
    return flight is None or flight.again < MAX_AGAIN


@dataclass(eq=False)
class Restarter:
    """Puts images into their next run and publishes their first tasks."""

    clock: Clock
    state: State
    retry_queue: RetryQueue
    metrics: Metrics
    dispatcher: Dispatcher

    def restart(self, run: Run, images: Collection[int]) -> None:
        """Begin these images of a batch again. In the retry queue; after a crash all pending images begin again."""
        self.retry_queue.run(lambda: self._restart(run, images))

    def _restart(self, run: Run, images: Collection[int]) -> None:
        before = {row.image: row.run for row, _ in self.state.opened(run.number, images) if row.state == "pending"}
        if not before:
            return
        self.state.restart_images(run.number, before)
        rows = [row for row, _ in self.state.opened(run.number, before) if row.state == "pending"]
        now_s = self.clock.monotonic_s()
        for row in rows:
            run.ledger.open(row.image, row.run)
            if flight := run.in_flight.get(row.image):
                flight.again += 1
                flight.heard_s = now_s
        log.warning(
            "the work store lost intermediates; images begin again", extra={"batch": run.id, "images": len(rows)}
        )
        self.metrics.images_again.inc(len(rows))
        self.dispatcher.publish([(run, row) for row in rows])
