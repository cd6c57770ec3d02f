"""The coordinator: its desks, one for each queue, and what connects them. Everything happens on one loop."""

import logging
import time
from collections.abc import Callable

from muniflow.model.ledger import Leaf, LedgerUpdate
from muniflow.model.messages import Tally
from muniflow.model.operation import Operations
from muniflow.model.topology import BATCHES, CONTROL, EVENTS, LOST, topology
from muniflow_coordinator.api.gauges import live_of, trace_end
from muniflow_coordinator.cleanup.orphans import LOOK_BACK, Sweeper
from muniflow_coordinator.core import Core, Surroundings
from muniflow_coordinator.handlers.alarm_probe import Probe
from muniflow_coordinator.handlers.batches import BatchHandler
from muniflow_coordinator.handlers.commands import CommandHandler
from muniflow_coordinator.handlers.dispatcher import Dispatcher
from muniflow_coordinator.handlers.events import Actions, EventHandler
from muniflow_coordinator.handlers.finalizer import Finisher
from muniflow_coordinator.handlers.redispatch import Redispatcher
from muniflow_coordinator.metrics import Live
from muniflow_coordinator.runs.runs import Run, may_run
from muniflow_coordinator.runs.window import window_for
from muniflow_coordinator.settings import CoordinatorSettings
from muniflow_coordinator.state.types import Commit

log = logging.getLogger(__name__)

BATCHES_PREFETCH = 8
CONTROL_PREFETCH = 32
LOST_PREFETCH = 200


class Coordinator:
    """Shards batches into tasks and keeps their ledger."""

    def __init__(self, given: Surroundings, operations: Operations, settings: CoordinatorSettings) -> None:
        """Connect the parts; `start` begins the work."""
        core = Core.of(given, settings)
        self.core = core
        self.rates = given.rates
        self._settings = settings
        self._operations = operations
        self._dispatcher = Dispatcher(core)
        self._finisher = Finisher(core, self._on_finished)
        actions = Actions(
            self._on_settled, core.cleaner.add, self._finisher.start, self._on_tally, self._dispatcher.pump
        )
        self._events = EventHandler(core, actions, settings.events_linger_s)
        self._intake = BatchHandler(core, operations, self._resume, settings.intake_threads)
        self._commands = CommandHandler(core, self._intake, self._complete, self._resume)
        self._redispatcher = Redispatcher(
            core,
            self._dispatcher,
            self._events.settle,
            after_s=settings.redispatch_after_s,
            no_task_waits=given.no_task_waits,
        )
        self._probe = Probe(core)
        self._sweeper = Sweeper(core.loop, core.stores.output, settings.unfinished_after_s)
        self._name = given.name

    def start(self) -> None:
        """Take over the database, take up what was left unfinished, then connect; waits while the database is away."""
        self.core.retry_queue.run(self._take_over)

    def _take_over(self) -> None:
        state = self.core.state
        epoch = state.take_over(self._name)
        found = state.unfinished()
        leaves = {row.number: state.leaves(row.number) for row in found if row.state != "intake"}
        documents = {row.number: state.document(row.number) for row in found if row.state == "intake"}
        ended = state.batches(limit=LOOK_BACK)
        # From here on nothing can fail, so nothing is done twice.
        for row in found:
            if row.state == "intake":
                self._intake.take_up(row, documents[row.number])
            elif may_run(row):
                self._take_up(Run.of(row), leaves[row.number])
        self._sweeper.recall(ended)
        log.info("working", extra={"epoch": epoch, "unfinished": len(found)})
        self._redispatcher.start()
        self._probe.start()
        self._connect()

    def _take_up(self, run: Run, leaves: list[Leaf]) -> None:
        run.ledger.recall(leaves)
        self.core.runs.add(run)
        if run.state == "finishing":
            self._finisher.start(run)
        elif run.cancelling:
            self._commands.cancel_again(run)
        else:
            self._dispatcher.add(run)

    def _connect(self) -> None:
        self.core.transport.start(topology(self._operations), self._on_ready, self._on_lost)
        self.core.transport.consume(EVENTS, self._settings.events_prefetch, self._events.on_delivery)
        self.core.transport.consume(LOST, LOST_PREFETCH, self._events.on_delivery)
        self.core.transport.consume(CONTROL, CONTROL_PREFETCH, self._commands.on_delivery)
        self.core.transport.consume(BATCHES, BATCHES_PREFETCH, self._intake.on_delivery)

    def stop(self, on_stopped: Callable[[], None]) -> None:
        """Take nothing more, record what has come in, ack it, and close."""
        self._dispatcher.stopped = True
        for queue in (BATCHES, CONTROL, LOST, EVENTS):
            self.core.transport.cancel(queue)
        self._events.flush()
        self.halt()
        self.core.transport.stop(on_stopped)

    def halt(self) -> None:
        """End all threads and retries at once; what is not recorded is done again at the next start."""
        self._dispatcher.stopped = True
        self._redispatcher.stop()
        self._probe.stop()
        self.core.retry_queue.stop()
        self.core.notifier.stop()
        self._intake.stop()
        self._finisher.stop()
        self._sweeper.stop()
        self.core.cleaner.stop()

    def live(self) -> Live:
        """What is measured now; may be called from any thread."""
        return live_of(self.core, self._settings.window_total)

    def _on_ready(self) -> None:
        self._dispatcher.pump()

    def _on_lost(self, reason: str) -> None:
        log.warning("broker lost: %s", reason)
        self.core.metrics.connections_lost.inc()
        self._events.forget()

    def _resume(self, run: Run) -> None:
        self._dispatcher.add(run)
        self._dispatcher.pump()

    def _on_settled(self, run: Run, update: LedgerUpdate) -> None:
        released = 0
        # A route of one step has no intermediates.
        leaves_blobs = len(run.batch.route) > 1
        for image in update.settled:
            flight = run.in_flight.pop(image.image, None)
            if self.core.tracing.on:
                trace_end(self.core.tracing, run, image, flight)
            if flight is None:
                run.settled_early.add(image.image)
            else:
                released += 1
            if leaves_blobs and not image.direct:
                self.core.cleaner.add(run.id, image.image)
        failed = sum(image.state == "failed" for image in update.settled)
        self.core.metrics.images_settled.labels("done").inc(len(update.settled) - failed)
        self.core.metrics.images_settled.labels("failed").inc(failed)
        run.rate.add(len(update.settled))
        self.core.scheduler.release(run.number, released)

    def _on_tally(self, run: Run, tally: Tally) -> None:
        run.tallies.add(tally)
        if tally.waiting_for is not None or tally.done or tally.failed:
            run.retrying = tally.waiting_for
        if 0 <= tally.step < len(run.batch.route):
            self.rates.add(run.batch.route[tally.step].op, tally.done + tally.failed, tally.compute_s)
        if tally.step == 0:
            window = window_for(self._settings.window_images, run.tallies.mean_pixels)
            self.core.scheduler.set_window(run.number, window)

    def _complete(self, run: Run) -> None:
        now = time.time()
        self.core.state.commit([Commit(run.number, state="finishing", finished_at=now)])
        run.state, run.finished_at = "finishing", now
        self._finisher.start(run)

    def _on_finished(self, run: Run) -> None:
        self.core.runs.remove(run)
        self._sweeper.add(run.batch.destination)
        self.core.scheduler.remove(run.number)
        for held in run.held:
            self.core.loop.call_later(0, held)
