"""The safety net: images in flight that nobody has any more are dispatched again, or settled as lost.

Nothing of muniflow loses a task. But people purge queues, and brokers are restored from old copies; a batch must come
to its end all the same. Silence alone is no proof, since a backlog may be long and workers may be away for a weekend:
it counts only while no queue of the route, and none for retries, holds a task.
"""

import logging
import time
from collections.abc import Callable

from muniflow.model.messages import Settled
from muniflow_coordinator.core import Core
from muniflow_coordinator.handlers.dispatcher import Dispatcher
from muniflow_coordinator.runs.runs import Flight, Run

log = logging.getLogger(__name__)

MAX_AGAIN = 5
"""How often an image is dispatched again before it is settled as failed."""
GROUP = 128
"""Images of one batch that are looked at in one turn."""


class Redispatcher:
    """Looks for silent images, some times in each `after_s`."""

    def __init__(
        self,
        core: Core,
        dispatcher: Dispatcher,
        settle: Callable[[list[Settled]], None],
        *,
        after_s: float,
        no_task_waits: Callable[[str], bool],
    ) -> None:
        """Call `settle` with what is lost; `after_s` of silence are too long, 0 never is."""
        self._loop = core.loop
        self._state = core.state
        self._retry_queue = core.retry_queue
        self._runs = core.runs
        self._again = core.metrics.images_again
        self._dispatcher = dispatcher
        self._settle = settle
        self._after_s = after_s
        self._no_task_waits = no_task_waits
        self._suspects: dict[int, set[int]] = {}
        self._stopped = False

    def start(self) -> None:
        """Begin to look."""
        if self._after_s:
            self._later()

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True

    def _later(self) -> None:
        self._loop.call_later(min(self._after_s / 10, 60.0), self._look)

    def _look(self) -> None:
        if self._stopped:
            return
        self._later()
        before, self._suspects = self._suspects, {}
        for run in self._runs:
            if silent := self._silent(run):
                # Depths of several queues are not read in one moment; twice in a row is no accident.
                self._suspects[run.number] = set(silent)
                if twice := before.get(run.number, set()) & silent.keys():
                    self._retry_queue.run(lambda run=run, twice=twice: self._act(run, twice))  # type: ignore[misc]

    def _silent(self, run: Run) -> dict[int, Flight]:
        old_s = time.monotonic() - self._after_s
        silent: dict[int, Flight] = {}
        for image, flight in run.in_flight.items():
            if flight.heard_s < old_s:
                silent[image] = flight
                if len(silent) == GROUP:
                    break
        if silent and all(self._no_task_waits(step.op) for step in run.batch.route):
            return silent
        return {}

    def _act(self, run: Run, images: set[int]) -> None:
        silent = {image: run.in_flight[image] for image in images if image in run.in_flight}
        lost = [image for image, flight in silent.items() if flight.again >= MAX_AGAIN]
        found = self._state.opened(run.number, silent.keys() - set(lost))
        rows = [row for row, _ in found if row.state == "pending"]
        now_s = time.monotonic()
        for row in rows:
            flight = silent[row.image]
            flight.again += 1
            flight.heard_s = now_s
        if rows:
            log.warning("nothing was heard of images: dispatching them again", extra=_named(run, len(rows)))
            self._again.inc(len(rows))
            self._dispatcher.publish([(run, row) for row in rows])
        if lost:
            log.error("nothing was heard of images again and again: they are lost", extra=_named(run, len(lost)))
            reason = f"lost: nothing was heard of it after {MAX_AGAIN + 1} dispatches"
            numbers = {row.image: row.run for row, _ in self._state.opened(run.number, lost)}
            self._settle(
                [Settled(batch=run.id, image=image, run=numbers.get(image, 0), reason=reason) for image in lost]
            )


def _named(run: Run, images: int) -> dict[str, object]:
    return {"batch": run.id, "images": images}
