"""From deliveries to groups, from results to confirmed messages to acks; on the loop, and without pixels.

A group is acked only when everything that follows from it is confirmed. A lost connection makes all deliveries void:
they are forgotten here, and what children still compute of them is dropped, because the broker delivers them again.
"""

import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from pydantic import ValidationError

from muniflow.compute.groups import GroupResult
from muniflow.compute.outgoing import FAILED_AT, REASON
from muniflow.compute.pending import Job
from muniflow.compute.pool import ComputePool
from muniflow.model.messages import Task
from muniflow.model.topology import step_queue
from muniflow.runtime.backoff import doubling_s
from muniflow.runtime.failpoints import Failpoints
from muniflow.runtime.logs import task_fields
from muniflow.runtime.loop import Loop
from muniflow.runtime.tracing import Tracing
from muniflow.transport.types import Delivery, OutgoingMessage, PublishProblem, Transport
from muniflow.worker.grouping import (
    GROUPS_PER_CHILD,
    Backlog,
    Kind,
    Pace,
    PrefetchLimits,
    group_length,
    may_be_early,
    prefetch_for,
    prefetch_stands_s,
    steadied,
)
from muniflow.worker.metrics import WorkerMetrics
from muniflow.worker.settings import WorkerSettings
from muniflow.worker.tracing import Delivered, follow

log = logging.getLogger(__name__)

FIRST_PREFETCH = 8
SUSPECT_AFTER = 2
"""Deliveries of a task that came to nothing, from which on it runs in a group of its own. An image may take the whole
worker along (where the kernel ends a container as a group): those that were delivered with it must not share its end,
nor be given up by the broker with it."""
BURST_S = 0.002
"""What was published together comes within so short a time; taken as it comes, it would make several short groups."""
PUBLISH_AGAIN_FIRST_S, PUBLISH_AGAIN_MAX_S = 0.5, 30.0


class Held(NamedTuple):
    """A delivery that is a task."""

    job: Job
    delivery: Delivery
    kind: Kind
    pixels: int | None
    suspect: bool = False


def read_task(body: bytes, operations: Sequence[str]) -> Task:
    """Read a delivery.

    Raises:
        ValueError: it is no task for one of `operations`; the text says why.
    """
    try:
        task = Task.from_bytes(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from None
    if task.step >= len(task.route):
        raise ValueError(f"step {task.step} of a route of {len(task.route)}")
    if task.op not in operations:
        raise ValueError(f"operation {task.op!r} is not carried here")
    return task


def deliveries_before(delivery: Delivery) -> int:
    """How often the broker has delivered it in vain; quorum queues count."""
    count = delivery.headers.get("x-delivery-count", 0)
    return count if isinstance(count, int) else 0


def _tell_of_failures(result: GroupResult) -> None:
    """A line for each task that failed for good; `logs` thins them out."""
    for message in result.messages:
        if FAILED_AT in message.headers:
            fields = task_fields(Task.from_bytes(message.body))
            log.warning("task failed: %s", message.headers[REASON], extra=fields)


@dataclass
class Consumer:
    """The heart of a worker. All methods are called on the loop."""

    loop: Loop
    transport: Transport
    pool: ComputePool
    operations: tuple[str, ...]
    settings: WorkerSettings
    metrics: WorkerMetrics
    failpoints: Failpoints = field(default_factory=Failpoints)
    tracing: Tracing = field(default_factory=Tracing)
    _backlog: Backlog[Held] = field(default_factory=Backlog, init=False)
    _pace: Pace = field(default_factory=Pace, init=False)
    _prefetch: dict[str, int] = field(default_factory=dict, init=False)
    _wanted: dict[str, float] = field(default_factory=dict, init=False)
    """Prefetches that would be right, as a mean over the last groups."""
    _prefetch_changed_s: float = field(default=0.0, init=False)
    _epoch: int = field(default=0, init=False)
    _running: int = field(default=0, init=False)
    """Groups of this connection that are computed or published and not acked."""
    _draining: bool = field(default=False, init=False)
    _scheduled: bool = field(default=False, init=False)
    _seen: int = field(default=0, init=False)
    """How many waited at the last look at a burst."""
    _waiting_for: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self._before_publish = self.failpoints.at("worker.before_publish")
        self._after_publish = self.failpoints.at("worker.after_publish")
        self._after_confirm = self.failpoints.at("worker.after_confirm")
        self._after_ack = self.failpoints.at("worker.after_ack")

    def start(self) -> None:
        """Consume from the queue of each operation, from the moment that the transport is ready."""
        for operation in self.operations:
            self._consume(operation, FIRST_PREFETCH)

    @property
    def drained(self) -> bool:
        """Whether nothing of it runs or waits for the broker, once `drain` was called."""
        return self._draining and self._running == 0

    def drain(self) -> None:
        """Take no more, hand back what has not begun; `drained` tells when the rest is settled."""
        self._draining = True
        for operation in self.operations:
            self.transport.cancel(step_queue(operation))
        self.transport.requeue([held.delivery for held in self._backlog.clear()])

    def lost(self) -> None:
        """The connection is lost: what was delivered over it is void."""
        self._epoch += 1
        self._running = 0
        self._backlog.clear()
        self.metrics.connections_lost.inc()
        self.metrics.held.set(0)

    def wake(self) -> None:
        """A child may take a group; looked at once for all that this turn of the loop brings."""
        if not self._scheduled:
            self._scheduled = True
            self.loop.add_callback_threadsafe(self._hand_out)

    def _consume(self, operation: str, prefetch: int) -> None:
        self._prefetch[operation] = prefetch
        self.metrics.prefetch.labels(operation).set(prefetch)
        self.transport.consume(step_queue(operation), prefetch, self._on_delivery)

    def _on_delivery(self, delivery: Delivery) -> None:
        if self._draining:
            self.transport.requeue([delivery])
            return
        try:
            task = read_task(delivery.body, self.operations)
        except ValueError as error:
            log.warning(
                "a message that is no task for this build goes to the dead letters: %s",
                error,
                extra={"queue": delivery.queue},
            )
            self.metrics.malformed.labels(delivery.queue).inc()
            self.transport.reject(delivery)
            return
        wait_s = time.time() - task.published_at if task.published_at else None
        self.metrics.delivered(task.op, wait_s, redelivered=delivery.redelivered)
        suspect = deliveries_before(delivery) >= SUSPECT_AFTER
        held = Held(Job(task, delivery.body), delivery, Kind(task.op, not task.tiles), task.input_px, suspect)
        if suspect:
            # In no order: each life of a worker gets some of them done before it comes upon the one that ends it.
            self._backlog.add(f"{delivery.queue} suspects", held, first=random.random() < 0.5)  # noqa: S311, PLR2004
        else:
            self._backlog.add(delivery.queue, held)
        self.metrics.held.inc()
        self.wake()

    def _hand_out(self) -> None:
        self._scheduled = False
        while self.pool.room and len(self._backlog):
            waiting = self._backlog.next_queue()
            seconds = (self._pace.seconds(held.kind, held.pixels) for held in waiting)
            most = 1 if waiting[0].suspect else self.settings.group_tasks
            length = group_length(seconds, self.settings.group_s, most)
            early = not self.pool.idle
            # While all children work, it may grow until it is full.
            if early and not (self._may_be_early(waiting[0]) and (length < len(waiting) or length == most)):
                return
            if not early and 1 < length == len(waiting) < most and self._grows():
                self._scheduled = True
                self.loop.call_later(BURST_S, self._hand_out)
                return
            self._seen = 0
            group = self._backlog.take(length)
            self._running += 1
            on_done = partial(self._on_result, group, self._epoch)
            self.pool.submit([held.job for held in group], on_done, early=early)

    def _grows(self) -> bool:
        """Whether more wait than at the last look: then the rest of a burst may be on its way."""
        before, self._seen = self._seen, len(self._backlog)
        return self._seen > before

    def _may_be_early(self, held: Held) -> bool:
        return not held.suspect and may_be_early(self._pace.seconds(held.kind, held.pixels), self.settings.group_s)

    def _on_result(self, group: list[Held], epoch: int, result: GroupResult) -> None:
        self.metrics.observe(result)
        for task in result.tasks:
            self._pace.learn(Kind(task.op, task.first), task.seconds, task.pixels)
        self._tell_of_waits(result)
        _tell_of_failures(result)
        if epoch != self._epoch:
            return
        messages = result.messages
        if self.tracing.on:
            messages = follow(self.tracing, [Delivered(held.job.task, held.delivery.headers) for held in group], result)
        self._before_publish()
        self._publish(group, epoch, messages, attempt=1)

    def _tell_of_waits(self, result: GroupResult) -> None:
        """One line when tasks begin to wait for a part that is away, and one when they go on."""
        reason = next((task.reason for task in result.tasks if task.reason), "")
        if reason and reason != self._waiting_for:
            log.warning("tasks wait and are tried again: %s", reason)
        elif self._waiting_for and not reason:
            log.info("tasks go on", extra={"waited_for": self._waiting_for})
        self._waiting_for = reason

    def _publish(self, group: list[Held], epoch: int, messages: list[OutgoingMessage], attempt: int) -> None:
        if epoch == self._epoch:
            began_s = time.perf_counter()

            def on_settled(problem: PublishProblem | None) -> None:
                if problem is None:
                    self.metrics.confirm_seconds.observe(time.perf_counter() - began_s)
                self._on_published(group, epoch, messages, attempt, problem)

            self.transport.publish(messages, on_settled)
            self._after_publish()

    def _on_published(
        self,
        group: list[Held],
        epoch: int,
        messages: list[OutgoingMessage],
        attempt: int,
        problem: PublishProblem | None,
    ) -> None:
        if epoch != self._epoch:
            return
        if problem is not None:
            pause_s = doubling_s(attempt, PUBLISH_AGAIN_FIRST_S, PUBLISH_AGAIN_MAX_S)
            log.warning("publishing again in %.1f s: %s", pause_s, problem.reason)
            self.metrics.publish_problems.inc()
            self.loop.call_later(pause_s, lambda: self._publish(group, epoch, messages, attempt + 1))
            return
        self._after_confirm()
        self.transport.ack([held.delivery for held in group])
        self._after_ack()
        self._running -= 1
        self.metrics.held.dec(len(group))
        self._adapt()

    def _adapt(self) -> None:
        """Let each queue's prefetch follow what its tasks take."""
        if self._draining:
            return
        now_s = time.monotonic()
        limits = PrefetchLimits(self.settings.prefetch_min, self.settings.prefetch_max, self.settings.pixels_in_flight)
        groups = GROUPS_PER_CHILD * self.settings.children
        longest = (self.settings.group_s, self.settings.group_tasks)
        for operation, current in list(self._prefetch.items()):
            pixels = self._pace.pixels(operation)
            if pixels is None:
                continue
            after_this = prefetch_for(self._pace.mean_s(operation), pixels, groups, longest, limits)
            self._wanted[operation] = steadied(self._wanted.get(operation), after_this)
            wanted = round(self._wanted[operation])
            if now_s - self._prefetch_changed_s >= prefetch_stands_s(current, wanted):
                self._prefetch_changed_s = now_s
                self._consume(operation, wanted)
