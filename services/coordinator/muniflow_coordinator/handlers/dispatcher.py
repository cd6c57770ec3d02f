"""Publishing the first tasks of images: whose turn it is (`scheduler`), within the windows, in groups with confirms."""

import time
from collections.abc import Callable, Sequence

from muniflow.runtime.tracing import ImageId
from muniflow.transport.types import OutgoingMessage, PublishProblem
from muniflow_coordinator.core import Core
from muniflow_coordinator.runs.runs import Flight, Run
from muniflow_coordinator.state.types import ImageRow

GROUP = 128
"""Images published together."""
READ_AHEAD = 1000
"""Pending images read from the database at once."""
RETRY_DELAY_S = 1.0
"""Pause before a group is published again that was not confirmed."""


class Dispatcher:
    """Keeps the windows full."""

    def __init__(self, core: Core) -> None:
        """Dispatch the images of all runs."""
        self._loop = core.loop
        self._transport = core.transport
        self._state = core.state
        self._retry_queue = core.retry_queue
        self._runs = core.runs
        self._scheduler = core.scheduler
        self._dispatched = core.metrics.images_dispatched
        self._confirm_seconds = core.metrics.confirm_seconds
        self._tracing = core.tracing
        self._after_dispatch = core.failpoints.at("coordinator.after_dispatch")
        self._asked = False
        self.stopped = False

    def add(self, run: Run) -> None:
        """Give turns to a batch that has pending images."""
        if not run.cancelling:
            self._scheduler.add(run.number, run.batch.weight)

    def pump(self) -> None:
        """Dispatch soon what the windows have room for."""
        if not self._asked and not self.stopped:
            self._asked = True
            self._retry_queue.run(self._pump)

    def _pump(self) -> None:
        self._asked = False
        if self.stopped or not self._transport.connected:
            return  # asked again when it is ready
        taken: list[tuple[Run, ImageRow]] = []
        try:
            while len(taken) < GROUP and (number := self._scheduler.take()) is not None:
                self._take(number, taken)
        finally:
            self.publish(taken)
        if len(taken) >= GROUP:
            # Let the loop do other things between two groups.
            self._asked = True
            self._loop.call_later(0, lambda: self._retry_queue.run(self._pump))

    def _take(self, number: int, taken: list[tuple[Run, ImageRow]]) -> None:
        run = self._runs.numbered(number)
        try:
            row = None if run is None else self._next_row(run)
        except BaseException:
            self._scheduler.give_back(number)
            raise
        if run is None or row is None:
            self._scheduler.nothing_left(number)
            return
        now_s = time.monotonic()
        run.in_flight[row.image] = Flight(now_s, now_s)
        run.ledger.open(row.image, row.run)
        taken.append((run, row))

    def _next_row(self, run: Run) -> ImageRow | None:
        while True:
            while run.next_rows:
                row = run.next_rows.popleft()
                if row.image not in run.settled_early:
                    return row
            if run.all_read:
                return None
            page = self._state.images(run.number, state="pending", after=run.cursor, limit=READ_AHEAD)
            run.settled_early.clear()
            run.read_ahead(page, all_of_them=len(page) < READ_AHEAD)

    def publish(self, taken: Sequence[tuple[Run, ImageRow]]) -> None:
        """Publish the first tasks of these images, which are in flight, until the broker has confirmed them."""
        now = time.time()
        groups: dict[str, tuple[list[OutgoingMessage], dict[int, Run]]] = {}
        for run, row in taken:
            messages, runs = groups.setdefault(run.queue, ([], {}))
            body = run.write_task(row.image, row.stem, row.suffix, row.run, now)
            trace = self._tracing.headers(ImageId(run.id, run.submitted_at, row.image, row.run))
            messages.append(OutgoingMessage(run.queue, body, headers=trace))
            runs[run.number] = run
        for messages, runs in groups.values():
            self._publisher(messages, list(runs.values()))()
        self._dispatched.inc(len(taken))

    def _publisher(self, messages: Sequence[OutgoingMessage], runs: Sequence[Run]) -> Callable[[], None]:
        began_s = 0.0

        def settled(problem: PublishProblem | None) -> None:
            for run in runs:
                run.waiting_for = None if problem is None else f"broker: {problem.reason}"
            if problem is None:
                self._confirm_seconds.observe(time.perf_counter() - began_s)
                self._after_dispatch()
            elif not self.stopped:
                self._loop.call_later(RETRY_DELAY_S, publish)

        def publish() -> None:
            nonlocal began_s
            if self.stopped:
                return  # the images are pending; the next start dispatches them
            if self._transport.connected:
                began_s = time.perf_counter()
                self._transport.publish(messages, settled)
            else:
                self._loop.call_later(RETRY_DELAY_S, publish)

        return publish
