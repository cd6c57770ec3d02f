"""Bugs put back in: each leaves out one thing that the product does, and some seed must find it.

`python -m tests.simulation.pipeline.mutations` runs each on seeds until one finds it, and prints the table of
`docs/research/simulation.md`.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tests.simulation.pipeline import run as of_run
from tests.simulation.pipeline.plan import plan_of
from tests.simulation.pipeline.pool import SimPool
from tests.simulation.pipeline.run import Result, run

from muniflow.errors import Unavailable
from muniflow.model.ledger import Ledger
from muniflow.model.lineage import Coverage
from muniflow.runtime.settings import BrokerSettings
from muniflow.worker import held
from muniflow.worker.consumer import Consumer
from muniflow_coordinator.cleanup.cleaner import Cleaner
from muniflow_coordinator.handlers.alarm_probe import Probe
from muniflow_coordinator.handlers.batches import BatchHandler
from muniflow_coordinator.handlers.commands import CommandHandler
from muniflow_coordinator.handlers.dispatcher import Dispatcher
from muniflow_coordinator.handlers.events import EventHandler
from muniflow_coordinator.handlers.progress import Progress
from muniflow_coordinator.notifier import Notifier
from muniflow_coordinator.recovery import Recovery
from muniflow_coordinator.retry_queue import RetryQueue
from muniflow_coordinator.runs import turns
from muniflow_coordinator.runs.runs import Run
from muniflow_coordinator.runs.scheduler import Scheduler
from muniflow_coordinator.state.reading import SqlReads
from muniflow_coordinator.state.writing import SqlWrites

Patch = tuple[Any, str, Any]
"""An object, the name of its attribute, and the value with the bug."""


@dataclass(frozen=True)
class Mutation:
    """One bug."""

    name: str
    text: str
    """What is left out."""
    patches: Sequence[Patch]
    seed: int
    """The first one that finds it, from 1 on; 0: none of the first 40 does."""


@contextmanager
def mutated(mutation: Mutation) -> Iterator[None]:
    """Put a bug in, and take it out again."""
    before = [(owner, name, vars(owner)[name]) for owner, name, _ in mutation.patches]
    for owner, name, value in mutation.patches:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def nothing(*_args: Any, **_kwargs: Any) -> None:
    """Leave it out."""


# The worker


def _acks_first(self: Consumer, group: Any, epoch: int, messages: Any, **_attempt: int) -> None:
    if epoch == self._epoch:
        self.transport.ack([held.delivery for held in group])
        self.transport.publish(messages, lambda _problem: None)
        self._running -= 1


# The coordinator


def _publishes_tasks_once(self: Dispatcher, group: Any) -> Callable[[], None]:
    return lambda: self.transport.publish([message for _, message in group], lambda _problem: None)


def _notices_once(self: Notifier, batch: str) -> None:
    message, then = self._waiting[batch][0]

    def settled(_problem: Any) -> None:
        self._next(batch)
        then()

    self.transport.publish((message,), settled)


def _notices_at_once(self: Notifier, notice: Any, then: Callable[[], None] = nothing, **event: Any) -> None:
    _SEND(replace(self), notice, then, **event)  # a notifier of its own: no order between two


_SEND = Notifier.send


def _acks_events_first(self: EventHandler, part: Any) -> None:
    self.transport.ack(part.deliveries)
    _RECORD(self, part)


_RECORD = EventHandler._record


def _applies_again(self: EventHandler, part: Any) -> None:
    part.updates = None
    _RECORD(self, part)


def _drops_what_fails(self: RetryQueue, _error: Unavailable) -> None:
    self._queue.popleft()
    self._busy = False


@contextmanager
def _unfenced(self: SqlWrites, commit: str | None) -> Iterator[Any]:
    with self._begin(commit) as connection:
        yield connection


def _counts_duplicates(self: Coverage, lineage: Any) -> bool:
    from muniflow.model.lineage import fraction

    self.covered = min(self.covered + fraction(lineage), 1 + 0 * fraction(lineage))
    return True


def _begins_twice(self: BatchHandler, batch: Any, delivery: Any) -> None:
    known = self.state.find(batch.batch_id)
    if known is None or batch.batch_id in self.intakes:
        _ADMIT(self, batch, delivery)
    else:
        self._answer(known, delivery)


_ADMIT = BatchHandler._admit


def _any_run(self: Ledger, events: Any) -> Any:
    renamed = []
    for event in events:
        known = self._open.get(event.image)
        renamed.append(event if known is None else event.model_copy(update={"run": known.run}))
    return _APPLY(self, renamed)


_APPLY = Ledger.apply


def _keeps_window(self: Scheduler, batch: int, images: int = 1) -> None:
    if images == 1:
        _RELEASE(self, batch, images)


_RELEASE = Scheduler.release


def _fits_always(_self: Scheduler, _entry: Any) -> bool:
    return True


def _ends_before_reopened(self: CommandHandler, job: Any, _run: Run | None) -> None:
    self._end(job)


def _no_late(self: EventHandler, part: Any) -> None:
    part.late.clear()
    _ACT(self, part)


_ACT = EventHandler._act


def _never_settled_early(self: Progress, run: Run, update: Any) -> None:
    _SETTLED(self, run, update)
    run.settled_early.clear()


_SETTLED = Progress.settled


def _keeps_its_turn(_self: Any, _entry: Any, *, due: bool) -> int:
    return int(not due) * 0


def _continues_running_ones(self: Recovery, run: Run, leaves: Any) -> None:
    if run.state != "finishing":
        _CONTINUE(self, run, leaves)
    else:
        self.runs.add(run)


_CONTINUE = Recovery._continue


def _acks_held(self: CommandHandler, job: Any, _held: Any) -> None:
    self._end(job)


MUTATIONS = (
    Mutation("ack before confirm", "a worker acks its group before what follows is confirmed",
             [(Consumer, "_publish", _acks_first)], 3),
    Mutation("outputs not synced", "a worker reports outputs that are not synced",
             [(SimPool, "_made_durable", lambda _self, results: results)], 1),
    Mutation("no suspects", "what came back twice runs in a group with others",
             [(held, "SUSPECT_AFTER", 10**9)], 0),
    Mutation("no suspect alone", "what came back often runs beside others",
             [(held, "EXCLUSIVE_AFTER", 10**9)], 0),
    Mutation("blocked timeout 2 s", "a worker gives up a connection that the broker blocks for 2 s",
             [(of_run, "BrokerSettings", partial(BrokerSettings, blocked_timeout_s=2.0))], 0),
    Mutation("no alarm probe", "nobody asks the broker whether it blocks",
             [(Probe, "look", nothing)], 57),
    Mutation("tasks published once", "a group of first tasks that was not confirmed is not published again",
             [(Dispatcher, "_publisher", _publishes_tasks_once)], 8),
    Mutation("notices published once", "a notice that was not confirmed counts as published",
             [(Notifier, "_publish", _notices_once)], 8),
    Mutation("notices in any order", "a notice does not wait for the confirm of the one before it",
             [(Notifier, "send", _notices_at_once)], 0),
    Mutation("ack before commit", "the coordinator acks events before they are recorded",
             [(EventHandler, "_record", _acks_events_first)], 0),
    Mutation("applied again", "events whose commit failed are applied to the ledger once more",
             [(EventHandler, "_record", _applies_again)], 71),
    Mutation("no late events", "events of settled images remove nothing",
             [(EventHandler, "_act", _no_late)], 0),
    Mutation("retry queue drops", "work that the database refused is not tried again",
             [(RetryQueue, "_wait", _drops_what_fails)], 9),
    Mutation("no fencing", "a coordinator writes although another one has taken over",
             [(SqlWrites, "_write", _unfenced)], 0),
    Mutation("duplicates counted", "a part of an image that is settled twice counts twice",
             [(Coverage, "add", _counts_duplicates)], 16),
    Mutation("events of any run", "an event of an earlier run settles an image that was run again",
             [(Ledger, "apply", _any_run)], 0),
    Mutation("doubtful insertion", "a batch whose insertion was committed unheard is taken for a running one",
             [(BatchHandler, "_admit", _begins_twice)], 17),
    Mutation("window kept", "images that are settled together give back no room in the window",
             [(Scheduler, "release", _keeps_window)], 8),
    Mutation("no window", "the windows of all batches together are not looked at",
             [(Scheduler, "_fits", _fits_always)], 2),
    Mutation("settled early", "an image that was settled while it waited is dispatched again",
             [(Progress, "settled", _never_settled_early)], 49),
    Mutation("commands dropped", "running failed images again is acked and not done",
             [(CommandHandler, "_begin_reopen", _ends_before_reopened)], 7),
    Mutation("commands in the wrong moment", "a command that comes while its batch ends is acked and not done",
             [(CommandHandler, "_hold", _acks_held)], 671),
    Mutation("cancel not resumed", "a restart does not go on with cancelling",
             [(CommandHandler, "cancel_again", nothing)], 0),
    Mutation("end not resumed", "a restart does not go on with a batch that was ending",
             [(Recovery, "_continue", _continues_running_ones)], 1),
    Mutation("removal under a new run", "running an image again does not wait for the removal of its intermediates",
             [(Cleaner, "forget", lambda _self, _batch: True)], 0),
    Mutation("report of an old leader", "nobody looks who leads before a report is written",
             [(SqlReads, "mine", lambda _self: True)], 0),
    Mutation("no turns", "a batch that has a turn keeps it",
             [(turns._Class, "serve", _keeps_its_turn)], 76),
)  # fmt: skip


def finders(mutation: Mutation, seeds: range, enough: int = 3) -> list[Result]:
    """Return the first runs that find a bug."""
    found: list[Result] = []
    with mutated(mutation):
        for seed in seeds:
            result = run(plan_of(seed), hasty=True)
            if not result.passed:
                found.append(result)
                if len(found) == enough:
                    break
    return found


def main() -> None:
    """Print which seeds find which bug."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--enough", type=int, default=3, help="seeds that find a bug")
    parser.add_argument("--share", default="0/1", help="1/3: the second third of the bugs")
    options = parser.parse_args()
    share, of = map(int, options.share.split("/"))
    for number, mutation in enumerate(MUTATIONS):
        if number % of == share:
            found = finders(mutation, range(1, options.seeds + 1), options.enough)
            seeds = ", ".join(str(result.plan.seed) for result in found) or "none"
            seen = found[0].violations[0] if found else ""
            print(f"| {mutation.name} | {mutation.text} | {seeds} | {seen[:140]} |", flush=True)


if __name__ == "__main__":
    main()
