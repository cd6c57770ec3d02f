"""What follows a recorded change of a batch: windows, rates, metrics, removal of intermediates."""

from dataclasses import dataclass

from muniflow.model.ledger import LedgerUpdate, SettledImage
from muniflow.model.messages import Tally
from muniflow.runtime.clock import Clock
from muniflow.runtime.loop import Loop
from muniflow.runtime.tracing import ImageId, Tracing
from muniflow_coordinator.cleanup.cleaner import Cleaner
from muniflow_coordinator.cleanup.orphans import Sweeper
from muniflow_coordinator.foresight.service_times import ServiceTimes
from muniflow_coordinator.handlers.progress_notices import ProgressNotices
from muniflow_coordinator.metrics import Metrics
from muniflow_coordinator.runs.rates import StepRates
from muniflow_coordinator.runs.runs import Flight, Run, Runs
from muniflow_coordinator.runs.scheduler import Scheduler


@dataclass(eq=False)
class Progress:
    """Updates everything in memory that depends on recorded events."""

    loop: Loop
    clock: Clock
    metrics: Metrics
    tracing: Tracing
    runs: Runs
    scheduler: Scheduler
    cleaner: Cleaner
    sweeper: Sweeper
    rates: StepRates
    service_times: ServiceTimes
    notices: ProgressNotices

    def settled(self, run: Run, update: LedgerUpdate) -> None:
        """Release the window of settled images and remove their intermediates."""
        released = 0
        for image in update.settled:
            flight = run.in_flight.pop(image.image, None)
            if self.tracing.on:
                self._end_trace(run, image, flight)
            if flight is None:
                run.settled_early.add(image.image)
            else:
                released += 1
        if len(run.batch.route) > 1:  # a route of one step has no intermediates
            self.cleaner.add(run.id, (image.image for image in update.settled if not image.direct))
        failed = sum(image.state == "failed" for image in update.settled)
        self.metrics.settled(run.batch.owner, done=len(update.settled) - failed, failed=failed)
        run.rate.add(len(update.settled))
        self.scheduler.release(run.number, released)
        self.notices.settled(run)

    def accepted(self, run: Run) -> None:
        """Begin to tell of a new batch, and count its images that have failed, as their sources are not there."""
        self.metrics.settled(run.batch.owner, done=0, failed=run.counts.failed)
        self.notices.accepted(run)

    def tallied(self, run: Run, tally: Tally) -> None:
        """Add a worker's tally to the sums, the service times and the rates of a batch."""
        run.tallies.add(tally)
        self.service_times.add(run.batch, tally)
        if tally.waiting_for is not None or tally.done or tally.failed:
            run.retrying = tally.waiting_for
        if 0 <= tally.step < len(run.batch.route):
            self.rates.add(run.batch.route[tally.step].op, tally.done + tally.failed, tally.compute_s)

    def finished(self, run: Run) -> None:
        """Forget a batch in a terminal state, and carry out the commands that waited for it."""
        self.runs.remove(run)
        self.notices.forget(run)
        self.sweeper.add(run.id, run.batch.destination)
        self.scheduler.remove(run.number)
        self.service_times.forget(run.id)
        for held in run.held:
            self.loop.call_later(0, held)

    def _end_trace(self, run: Run, image: SettledImage, flight: Flight | None) -> None:
        """Record the span of a settled image; if it was dispatched before a restart, it begins with its batch."""
        began_at = run.submitted_at
        if flight is not None:
            began_at = self.clock.now_s() - (self.clock.monotonic_s() - flight.dispatched_s)
        self.tracing.ended(ImageId(run.id, run.submitted_at, image.image, image.run), began_at, image.state)
