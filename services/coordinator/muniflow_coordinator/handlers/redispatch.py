"""The safety net: dispatches images again whose tasks were lost, or settles them as failed.

Muniflow itself loses no task. But people purge queues and restore brokers from old copies, and a batch must end all the
same. Silence alone proves no loss: a backlog may be long, and workers may be stopped for a weekend. It counts only
while no queue of the route, and no queue for retries, holds a task.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from muniflow.model.messages import Settled
from muniflow.runtime.clock import Clock
from muniflow.runtime.loop import Every, Loop
from muniflow_coordinator.handlers.dispatcher import Dispatcher
from muniflow_coordinator.metrics import Metrics
from muniflow_coordinator.retry_queue import RetryQueue
from muniflow_coordinator.runs.runs import Flight, Run, Runs
from muniflow_coordinator.state.types import State

log = logging.getLogger(__name__)

MAX_AGAIN = 5
"""How often an image is dispatched again before it is settled as failed."""
GROUP = 128
"""Images of one batch that are checked at a time."""


@dataclass(eq=False)
class Redispatcher:
    """Looks for silent images, about ten times in each `after_s`."""

    loop: Loop
    clock: Clock
    state: State
    retry_queue: RetryQueue
    metrics: Metrics
    runs: Runs
    dispatcher: Dispatcher
    settle: Callable[[list[Settled]], None]
    """Records lost images as failed."""
    after_s: float
    """An image without an event for so long is silent, in seconds; 0: never."""
    no_task_waits: Callable[[str], bool]
    """Whether it is certain that no task of an operation waits in a queue."""
    _suspects: dict[int, set[int]] = field(init=False, default_factory=dict)
    _looks: Every = field(init=False)

    def __post_init__(self) -> None:
        """Look from `start` on."""
        self._looks = Every(self.loop, min(self.after_s / 10, 60.0), self._look)

    def start(self) -> None:
        """Begin to look."""
        if self.after_s:
            self._looks.start()

    def stop(self) -> None:
        """Stop looking."""
        self._looks.stop()

    def _look(self) -> None:
        before, self._suspects = self._suspects, {}
        for run in self.runs:
            if silent := self._silent(run):
                # The depths of several queues are not of one moment, so only twice in a row counts.
                self._suspects[run.number] = set(silent)
                if twice := before.get(run.number, set()) & silent.keys():
                    self.retry_queue.run(lambda run=run, twice=twice: self._act(run, twice))  # type: ignore[misc]

    def _silent(self, run: Run) -> dict[int, Flight]:
        old_s = self.clock.monotonic_s() - self.after_s
        silent: dict[int, Flight] = {}
        for image, flight in run.in_flight.items():
            if flight.heard_s < old_s:
                silent[image] = flight
                if len(silent) == GROUP:
                    break
        if silent and all(self.no_task_waits(step.op) for step in run.batch.route):
            return silent
        return {}

    def _act(self, run: Run, images: set[int]) -> None:
        silent = {image: run.in_flight[image] for image in images if image in run.in_flight}
        lost = [image for image, flight in silent.items() if flight.again >= MAX_AGAIN]
        found = self.state.opened(run.number, silent.keys() - set(lost))
        rows = [row for row, _ in found if row.state == "pending"]
        now_s = self.clock.monotonic_s()
        for row in rows:
            flight = silent[row.image]
            flight.again += 1
            flight.heard_s = now_s
        if rows:
            log.warning("no events of images in flight; dispatching them again", extra=_named(run, len(rows)))
            self.metrics.images_again.inc(len(rows))
            self.dispatcher.publish([(run, row) for row in rows])
        if lost:
            log.error(
                "no events after %d dispatches; images marked as lost", MAX_AGAIN + 1, extra=_named(run, len(lost))
            )
            reason = f"lost: no event after {MAX_AGAIN + 1} dispatches"
            numbers = {row.image: row.run for row, _ in self.state.opened(run.number, lost)}
            self.settle(
                [Settled.failure(run.id, image, numbers.get(image, 0), reason=reason, code="lost") for image in lost]
            )


def _named(run: Run, images: int) -> dict[str, object]:
    return {"batch": run.id, "images": images}
