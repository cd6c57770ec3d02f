"""Cancels and erases batches, re-opens or drops failed images: one command after the other, each in slices.

A command is acked when it is done, so a crash repeats it. Repeating is safe: cancelling changes only pending images,
re-opening only failed ones.
"""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from muniflow.errors import Invalid
from muniflow.model.messages import Command
from muniflow.runtime.clock import Clock
from muniflow.runtime.loop import Loop
from muniflow.transport.types import Delivery, Transport
from muniflow_coordinator.cleanup.cleaner import Cleaner
from muniflow_coordinator.cleanup.eraser import SLICE, Eraser
from muniflow_coordinator.handlers.audit import AuditTrail
from muniflow_coordinator.handlers.dead_letters import LetterHandler
from muniflow_coordinator.handlers.decode import read_message
from muniflow_coordinator.handlers.dispatcher import Dispatcher
from muniflow_coordinator.handlers.finalizer import Finisher
from muniflow_coordinator.handlers.job import ACTIONS, Job, Standing
from muniflow_coordinator.handlers.list_reader import Intakes
from muniflow_coordinator.metrics import Metrics
from muniflow_coordinator.notifier import Notifier, notice_of_run
from muniflow_coordinator.retry_queue import RetryQueue
from muniflow_coordinator.runs.runs import Flight, Run, Runs, may_run
from muniflow_coordinator.runs.scheduler import Scheduler
from muniflow_coordinator.state.erasure_types import Erasure
from muniflow_coordinator.state.types import Commit, State

log = logging.getLogger(__name__)

CLEANER_RETRY_S = 0.05
"""Pause before the cleaner is asked again whether it still removes intermediates of a batch."""


@dataclass(eq=False)
class CommandHandler:
    """Handles `muniflow.control`."""

    loop: Loop
    clock: Clock
    transport: Transport
    state: State
    retry_queue: RetryQueue
    notifier: Notifier
    metrics: Metrics
    runs: Runs
    intakes: Intakes
    scheduler: Scheduler
    cleaner: Cleaner
    dispatcher: Dispatcher
    finisher: Finisher
    letters: LetterHandler
    audit: AuditTrail
    eraser: Eraser
    _jobs: deque[Job] = field(init=False, default_factory=deque)
    _busy: bool = field(init=False, default=False)

    def on_delivery(self, delivery: Delivery) -> None:
        """Carry out a command, after the earlier ones."""
        command = read_message(Command, delivery)
        if command is None:
            self.metrics.malformed.labels(delivery.queue).inc()
            self.transport.reject(delivery)
            return
        try:
            sender = self.audit.senders.of(delivery)
        except Invalid as invalid:
            log.warning("command refused: %s", invalid.faults[0], extra={"batch": command.batch})
            self.transport.reject(delivery)
            return
        owner = None if sender.everything else sender.owner
        tell = partial(self.audit.asked, delivery, ACTIONS[command.action])
        sender_of = partial(self.audit.sender_of, delivery, command.batch)
        self._take(Job(command, lambda: self.transport.ack([delivery]), owner, tell, sender_of))

    def cancel_again(self, run: Run) -> None:
        """Continue to cancel a batch after a restart; what was in flight before it goes on to its end."""
        self.retry_queue.run(lambda: self._cancel_again(run))

    def _cancel_again(self, run: Run) -> None:
        found = self.state.opened(run.number, self.state.kept_images(run.number))
        rows = [row for row, _ in found if row.state == "pending"]
        now_s = self.clock.monotonic_s()
        for row in rows:
            run.in_flight[row.image] = Flight(now_s, now_s)
            run.ledger.open(row.image, row.run)
        self.dispatcher.publish([(run, row) for row in rows])
        self._take(Job(Command(action="cancel", batch=run.id), lambda: None))

    def _take(self, job: Job) -> None:
        self._jobs.append(job)
        self._next()

    def _next(self) -> None:
        if self._jobs and not self._busy:
            self._busy = True
            job = self._jobs.popleft()
            self.retry_queue.run(lambda: self._begin(job))

    def _end(self, job: Job | None) -> None:
        if job is not None:
            job.ack()
        self._busy = False
        self._next()

    def _hold(self, job: Job, held: list[Callable[[], None]]) -> None:
        """Defer a command until its batch is ready for it, and continue with the next one."""
        held.append(lambda: self._take(job))
        self._end(None)

    def _known(self, batch_id: str) -> tuple[str | None, Standing]:
        """Return who has a batch, if anybody does, and where it stands."""
        if (known := self.intakes.get(batch_id) or self.runs.get(batch_id)) is not None:
            return known.batch.owner, "runs"
        row = self.state.find(batch_id)
        return (None, "ended") if row is None else (row.owner, "archived" if row.archived_at is not None else "ended")

    def _begin(self, job: Job) -> None:
        command, batch_id = job.command, job.command.batch
        if command.letter is not None:
            self._begin_letter(job, command.letter)
            return
        if not batch_id and command.action != "cancel":
            self._begin_all(job)
            return
        owner, stands = self._known(batch_id)
        if owner is None and command.action == "erase":
            self.eraser.begin_refused(batch_id, job.owner, job.sender())
        elif owner is None:
            self._tell_unknown(job)
        if owner is None or self.eraser.has(batch_id):
            self._end(job)
            return
        if job.owner not in {None, owner}:  # as if there were no such batch
            log.warning("command for the batch of another owner", extra={"batch": batch_id, "owner": job.owner})
            job.tell(batch_id, "refused: the batch of another owner")
            self._end(job)
            return
        job.tell(batch_id, refusal := job.refusal(stands))
        if refusal:
            self._end(job)
            return
        if (intake := self.intakes.get(batch_id)) is not None:
            self._hold(job, intake.held)
            return
        run = self.runs.get(batch_id)
        if run is not None and (run.state == "finishing" or (run.cancelling and command.action == "reopen")):
            self._hold(job, run.held)
        else:
            self._act(job, owner, run)

    def _tell_unknown(self, job: Job) -> None:
        asked = {"batch": job.command.batch[:80], "action": job.command.action}
        log.warning("command for a batch that is not known", extra=asked)
        self.metrics.commands_unknown.inc()
        job.tell(job.command.batch, "refused: no such batch")

    def _act(self, job: Job, owner: str, run: Run | None) -> None:
        match job.command.action:
            case "cancel":
                self._begin_cancel(job, run)
            case "erase":
                self._begin_erase(job, owner, run)
            case "drop":
                self._begin_drop(job)
            case _:
                self._begin_reopen(job, run)

    def _begin_all(self, job: Job) -> None:
        """Treat one batch after the other; the command is acked after the last one."""
        groups = self.state.failure_groups(job.chosen)
        waiting = set(batches := list(dict.fromkeys(group.batch_id for group in groups)))

        def ended(batch: str) -> None:
            waiting.discard(batch)
            if not waiting:
                job.ack()

        job.tell("", "every batch with failures")
        self._jobs.extend(job.for_batch(batch, partial(ended, batch)) for batch in batches)
        self._end(None if batches else job)

    def _begin_letter(self, job: Job, letter: int) -> None:
        if job.owner is not None:  # what a letter holds may be anybody's
            log.warning("command for a letter", extra={"letter": letter, "owner": job.owner})
            job.tell("", f"refused: letter {letter} belongs to no owner")
            self._end(job)
            return
        job.tell("", f"letter {letter}")
        act = self.letters.replay if job.command.action == "replay_letter" else self.letters.drop
        act(letter, lambda: self._end(job))

    def _begin_cancel(self, job: Job, run: Run | None) -> None:
        if run is None:
            self._end(job)  # it has ended, or is not known
            return
        self.state.commit([Commit(run.number, cancelling=True, in_flight=run.in_flight.keys())])
        run.cancelling = True
        self.scheduler.pause(run.number)
        run.read_again()
        log.info("batch is being cancelled", extra={"batch": run.id})
        self._cancel_slice(job, run, 0)

    def _cancel_slice(self, job: Job, run: Run, first: int) -> None:
        if run.state != "running":  # the last images in flight were settled between two slices
            self._end(job)
            return
        within = range(first, first + SLICE)
        before = run.counts.cancelled
        run.counts = self.state.cancel_images(run.number, within, run.in_flight.keys())
        run.ledger.keep_only(run.in_flight)
        self.metrics.settled(run.batch.owner, cancelled=run.counts.cancelled - before)
        if within.stop < run.counts.total:
            self._later(0, lambda: self._cancel_slice(job, run, within.stop))
            return
        if not run.counts.pending:
            self.finisher.complete(run)
        self._end(job)

    def _begin_erase(self, job: Job, owner: str, run: Run | None) -> None:
        batch, image = job.command.batch, job.command.image
        if run is None:
            self.eraser.begin(Erasure(batch, image, owner, *job.sender(), self.clock.now_s()))
            self._end(job)
            return
        self._hold(job, run.held)
        if not run.cancelling:
            self._take(Job(Command(action="cancel", batch=batch), lambda: None))

    def _begin_reopen(self, job: Job, run: Run | None) -> None:
        if run is None:
            row = self.state.find(job.command.batch)
            if row is None or not (row.counts.failed or row.state == "running") or not may_run(row):
                self._end(job)
                return
            run = Run.of(row, self.clock)
            if row.state == "running":
                # An earlier attempt was committed, but the answer of the database was lost.
                self._reopened(run, known=False)
        run.reopening = True
        self._reopen_slice(job, run, job.images(run.counts.total))

    def _reopen_slice(self, job: Job, run: Run, images: range) -> None:
        if not images:
            self._end_reopen(job, run)  # there is no such image
            return
        if not self.cleaner.forget(run.id):
            # The removal for the failed run must not hit intermediates of the next one. Checked before each slice,
            # because late events may come between two slices.
            self._later(CLEANER_RETRY_S, lambda: self._reopen_slice(job, run, images))
            return
        within = images[:SLICE]
        before = run.counts.failed
        run.counts = self.state.reopen_images(run.number, within, job.chosen)
        if run.counts.failed != before:
            self._reopened(run, known=self.runs.get(run.id) is run)
        if len(images) > SLICE and run.counts.failed:
            self._later(0, lambda: self._reopen_slice(job, run, images[SLICE:]))
            return
        self._end_reopen(job, run)

    def _end_reopen(self, job: Job, run: Run) -> None:
        run.reopening = False
        if self.runs.get(run.id) is run and run.state == "running" and not run.counts.pending:
            self.finisher.complete(run)
        self._end(job)

    def _reopened(self, run: Run, *, known: bool) -> None:
        run.read_again()
        if not known:
            run.state, run.cancelling, run.finished_at = "running", False, None
            run.reopened_at = self.clock.now_s()
            self.runs.add(run)
            log.info("batch re-opened", extra={"batch": run.id})
            self.notifier.send(notice_of_run(run))
        self.dispatcher.resume(run)

    def _begin_drop(self, job: Job) -> None:
        row = self.state.find(job.command.batch)
        if row is None:
            self._end(job)
        else:
            self._drop_slice(job, row.number, job.images(row.counts.total))

    def _drop_slice(self, job: Job, batch: int, images: range) -> None:
        if not images:
            self._end(job)
            return
        self.state.drop_failures(batch, images[:SLICE], job.chosen)
        self._later(0, lambda: self._drop_slice(job, batch, images[SLICE:]))

    def _later(self, delay_s: float, work: Callable[[], None]) -> None:
        self.loop.call_later(delay_s, lambda: self.retry_queue.run(work))
