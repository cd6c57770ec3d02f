"""Takes over the database, and continues the batches that the last coordinator left unfinished."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from muniflow.model.ledger import Leaf
from muniflow.runtime.clock import Clock
from muniflow_coordinator.cleanup.orphans import LOOK_BACK, Sweeper
from muniflow_coordinator.cleanup.retention import Retention
from muniflow_coordinator.handlers.batches import BatchHandler
from muniflow_coordinator.handlers.commands import CommandHandler
from muniflow_coordinator.handlers.dispatcher import Dispatcher
from muniflow_coordinator.handlers.finalizer import Finisher
from muniflow_coordinator.runs.runs import Run, Runs, may_run
from muniflow_coordinator.state.types import State

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Recovery:
    """Runs once, before the coordinator connects to the broker."""

    name: str
    """Recorded in the database: who leads."""
    clock: Clock
    state: State
    runs: Runs
    batches: BatchHandler
    commands: CommandHandler
    dispatcher: Dispatcher
    finisher: Finisher
    sweeper: Sweeper
    retention: Retention

    def run(self) -> None:
        """Take over, and continue all unfinished batches. In the retry queue."""
        epoch = self.state.take_over(self.name)
        found = self.state.unfinished()
        leaves = {row.number: self.state.leaves(row.number) for row in found if row.state != "intake"}
        documents = {row.number: self.state.document(row.number) for row in found if row.state == "intake"}
        ended = self.state.batches(limit=LOOK_BACK)
        # Nothing below raises `Unavailable`, so nothing is done twice.
        for row in found:
            if row.state == "intake":
                self.batches.resume(row, documents[row.number])
            elif may_run(row):
                self._continue(Run.of(row, self.clock), leaves[row.number])
        self.sweeper.resume(ended)
        self.retention.start()
        log.info("working", extra={"epoch": epoch, "unfinished": len(found)})

    def _continue(self, run: Run, leaves: Sequence[Leaf]) -> None:
        run.ledger.recall(leaves)
        self.runs.add(run)
        if run.state == "finishing":
            self.finisher.start(run)
        elif run.cancelling:
            self.commands.cancel_again(run)
        else:
            self.dispatcher.add(run)
