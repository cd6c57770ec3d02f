"""Publishes the first tasks of images: by the turns of `scheduler`, within the windows, in groups with confirms."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from muniflow.forecast.stage import Stages
from muniflow.model.batch import is_express
from muniflow.model.topology import TASKS_EXCHANGE, lane_queue
from muniflow.runtime.clock import Clock
from muniflow.runtime.failpoints import Failpoints
from muniflow.runtime.loop import Loop
from muniflow.runtime.tracing import ImageId, Tracing
from muniflow.transport.types import OutgoingMessage, PublishProblem, Transport
from muniflow_coordinator.foresight.due import standing_of
from muniflow_coordinator.metrics import Metrics
from muniflow_coordinator.retry_queue import RetryQueue
from muniflow_coordinator.runs.runs import Flight, Run, Runs
from muniflow_coordinator.runs.scheduler import Scheduler
from muniflow_coordinator.runs.signer import Signer
from muniflow_coordinator.runs.window import Window
from muniflow_coordinator.state.types import ImageRow, State

GROUP = 128
"""Images published together."""
READ_AHEAD = 1000
"""Pending images read from the database at once."""
RETRY_DELAY_S = 1.0
"""Pause before a group that was not confirmed is published again."""


@dataclass(eq=False)
class Dispatcher:
    """Keeps the windows full."""

    loop: Loop
    clock: Clock
    transport: Transport
    state: State
    retry_queue: RetryQueue
    metrics: Metrics
    tracing: Tracing
    failpoints: Failpoints
    runs: Runs
    scheduler: Scheduler
    stages: Stages
    """They say when a batch without a deadline is due."""
    max_weight: int
    """A larger weight of a batch counts as this."""
    express_images: int
    """A batch of at most so many images is express."""
    takes_express: Callable[[str], bool]
    """Whether it is certain that workers consume the express tasks of an operation."""
    signer: Signer
    _requested: bool = field(init=False, default=False)
    _stopped: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        """Look up the failpoint."""
        self._after_dispatch = self.failpoints.at("coordinator.after_dispatch")

    def stop(self) -> None:
        """Publish nothing more."""
        self._stopped = True

    def add(self, run: Run) -> None:
        """Give turns to a batch that has pending images."""
        if not run.cancelling:
            standing = standing_of(run, self.stages, self.max_weight)
            self.scheduler.add(run.number, standing._replace(express=self._is_express(run)))

    def set_windows(self, windows: Mapping[int, Window], total: int | None) -> None:
        """Give batches other windows, by their numbers, and dispatch soon what they have room for.

        Args:
            windows: of some batches.
            total: images of all batches together; `None`: as before.
        """
        if total is not None:
            self.scheduler.set_total(total)
        for number, window in windows.items():
            self.scheduler.set_window(number, window)
        self.pump()

    def resume(self, run: Run) -> None:
        """Give turns to a batch, and dispatch soon."""
        self.add(run)
        self.pump()

    def pump(self) -> None:
        """Dispatch soon as many images as the windows have room for."""
        if not self._requested and not self._stopped:
            self._requested = True
            self.retry_queue.run(self._pump)

    def _pump(self) -> None:
        self._requested = False
        if self._stopped or not self.transport.connected:
            return  # called again when the transport is ready
        taken: list[tuple[Run, ImageRow]] = []
        try:
            while len(taken) < GROUP and (number := self.scheduler.take()) is not None:
                self._take(number, taken)
        finally:
            self.publish(taken)
        if len(taken) >= GROUP:
            # The loop does other work between two groups.
            self._requested = True
            self.loop.call_later(0, lambda: self.retry_queue.run(self._pump))

    def _take(self, number: int, taken: list[tuple[Run, ImageRow]]) -> None:
        run = self.runs.numbered(number)
        try:
            row = None if run is None else self._next_row(run)
        except BaseException:
            self.scheduler.give_back(number)
            raise
        if run is None or row is None:
            self.scheduler.nothing_left(number)
            return
        now_s = self.clock.monotonic_s()
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
            page = self.state.images(run.number, state="pending", after=run.cursor, limit=READ_AHEAD)
            run.settled_early.clear()
            run.read_ahead(page, all_of_them=len(page) < READ_AHEAD)

    def publish(self, taken: Sequence[tuple[Run, ImageRow]]) -> None:
        """Publish the first tasks of these images, again and again until the broker confirms them."""
        now = self.clock.now_s()
        groups: dict[str, list[tuple[Run, OutgoingMessage]]] = {}
        rows: dict[int, tuple[Run, list[ImageRow]]] = {}
        for run, row in taken:
            rows.setdefault(run.number, (run, []))[1].append(row)
        for run, its_rows in rows.values():
            self.signer.prepare(run, its_rows)
        queues = {number: self._queue_of(run) for number, (run, _) in rows.items()}
        for run, row in taken:
            queue = queues[run.number]
            body = run.write_task(row.image, row.stem, row.suffix, row.run, now)
            trace = self.tracing.headers(ImageId(run.id, run.submitted_at, row.image, row.run))
            message = OutgoingMessage(queue, body, TASKS_EXCHANGE, trace)
            groups.setdefault(queue, []).append((run, message))
        for group in groups.values():
            self._publisher(group)()
        self.metrics.images_dispatched.inc(len(taken))

    def _is_express(self, run: Run) -> bool:
        return is_express(run.counts.total, self.express_images)

    def _queue_of(self, run: Run) -> str:
        """Return the queue of its first step: the express one only where workers of every step consume theirs.

        Workers pass an image on in the lane that it came by, and those of an earlier build consume no express queue.
        """
        route = run.batch.route
        express = self._is_express(run) and all(self.takes_express(step.op) for step in route)
        return lane_queue(route[0].op, express=express)

    def _publisher(self, group: Sequence[tuple[Run, OutgoingMessage]]) -> Callable[[], None]:
        """Return what publishes a group until the broker has confirmed it, without batches that have ended meanwhile.

        Copies of an earlier start may settle a batch while there is no connection.
        """
        runs = list({run.number: run for run, _ in group}.values())
        began_s = 0.0

        def settled(problem: PublishProblem | None) -> None:
            for run in runs:
                run.waiting_for = None if problem is None else f"broker: {problem.reason}"
            if problem is None:
                self.metrics.confirm_seconds.observe(self.clock.monotonic_s() - began_s)
                self._after_dispatch()
            elif not self._stopped:
                self.loop.call_later(RETRY_DELAY_S, publish)

        def publish() -> None:
            nonlocal began_s
            if self._stopped:
                return  # the images are pending; the next start dispatches them
            messages = [message for run, message in group if self.runs.get(run.id) is run]
            if self.transport.connected and messages:
                began_s = self.clock.monotonic_s()
                self.transport.publish(messages, settled)
            elif messages:
                self.loop.call_later(RETRY_DELAY_S, publish)

        return publish
