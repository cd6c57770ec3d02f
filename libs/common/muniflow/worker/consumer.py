"""From deliveries to groups, from results to confirmed messages to acks; on the loop, and without pixels.

A group is acked only when everything that follows from it is confirmed. A lost connection makes all deliveries void:
they are forgotten here, and what children still compute of them is dropped, because the broker delivers them again.
"""

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from muniflow.compute.groups import GroupResult
from muniflow.compute.pending import PendingTask
from muniflow.compute.types import Pool
from muniflow.model.topology import express_queue, operation_of, work_queues
from muniflow.runtime.backoff import doubling_s
from muniflow.runtime.clock import SYSTEM_CLOCK, Clock
from muniflow.runtime.failpoints import Failpoints
from muniflow.runtime.loop import Loop
from muniflow.runtime.tracing import Tracing
from muniflow.transport.types import Delivery, OutgoingMessage, PublishProblem, Transport
from muniflow.worker.grants import GrantCheck
from muniflow.worker.grouping import (
    Backlog,
    Kind,
    Pace,
    group_of,
    may_be_early,
)
from muniflow.worker.held import Doubt, Held, Unclear, doubt_of, given_up, parted, renewed
from muniflow.worker.incoming import read_task
from muniflow.worker.metrics import WorkerMetrics
from muniflow.worker.outgoing import messages_of
from muniflow.worker.prefetches import Prefetches
from muniflow.worker.result_log import ResultLog
from muniflow.worker.settings import WorkerSettings
from muniflow.worker.tracing import Delivered, contexts_of

log = logging.getLogger(__name__)

FIRST_PREFETCH = 8
SUSPECTS = "suspects"
"""Of all queues together: in the queues' own order, those of one queue would come before those of another in each life
of the worker."""
BURST_S = 0.002
"""What was published together comes within so short a time; taken as it comes, it would make several short groups."""
PUBLISH_AGAIN_FIRST_S, PUBLISH_AGAIN_MAX_S = 0.5, 30.0


@dataclass
class Consumer:
    """The heart of a worker. All methods are called on the loop."""

    loop: Loop
    transport: Transport
    pool: Pool
    operations: tuple[str, ...]
    settings: WorkerSettings
    metrics: WorkerMetrics
    failpoints: Failpoints = field(default_factory=Failpoints)
    tracing: Tracing = field(default_factory=Tracing)
    clock: Clock = SYSTEM_CLOCK
    chance: Callable[[], float] = random.random
    """From 0 to 1."""
    grants: GrantCheck = field(default_factory=GrantCheck)
    _backlog: Backlog[Held] = field(init=False)
    _unclear: Unclear = field(init=False)
    _pace: Pace = field(default_factory=Pace, init=False)
    _prefetches: Prefetches = field(init=False)
    _epoch: int = field(default=0, init=False)
    _running: int = field(default=0, init=False)
    """Groups of this connection that are computed or published and not acked."""
    _exclusive: bool = field(default=False, init=False)
    """Whether a task runs beside which nothing else may."""
    _draining: bool = field(default=False, init=False)
    _scheduled: bool = field(default=False, init=False)
    _seen: int = field(default=0, init=False)
    """How many waited at the last look at a burst."""
    _result_log: ResultLog = field(default_factory=ResultLog, init=False)

    def __post_init__(self) -> None:
        self._backlog = Backlog(frozenset(map(express_queue, self.operations)))
        self._prefetches = Prefetches(self.settings)
        self._unclear = Unclear(self.loop, self._mark, lambda: self.pool.idle > 0, self.chance)
        self._before_publish = self.failpoints.at("worker.before_publish")
        self._after_publish = self.failpoints.at("worker.after_publish")
        self._after_confirm = self.failpoints.at("worker.after_confirm")
        self._after_ack = self.failpoints.at("worker.after_ack")

    def start(self) -> None:
        """Consume from both queues of each operation, from the moment that the transport is ready."""
        for operation in self.operations:
            for queue in work_queues(operation):
                self._consume(queue, FIRST_PREFETCH)

    @property
    def drained(self) -> bool:
        """Whether nothing of it runs or waits for the broker, once `drain` was called."""
        return self._draining and self._running == 0

    def drain(self) -> None:
        """Take no more, hand back what has not begun; `drained` tells when the rest is settled."""
        self._draining = True
        for operation in self.operations:
            for queue in work_queues(operation):
                self.transport.cancel(queue)
        waiting = self._backlog.clear()
        for held in [held for held in waiting if held.doubt.marked]:
            waiting.remove(held)
            self._renew(held, held.doubt.begun - 1)  # it did not begin
        self.transport.requeue([held.delivery for held in (*waiting, *self._unclear.clear())])

    def lost(self) -> None:
        """The connection is lost: what was delivered over it is void."""
        self._epoch += 1
        self._running = 0
        self._backlog.clear()
        self._unclear.clear()
        self.metrics.connections_lost.inc()
        self.metrics.held.set(0)

    def wake(self) -> None:
        """A child may take a group; looked at once for all that this turn of the loop brings."""
        if not self._scheduled:
            self._scheduled = True
            self.loop.add_callback_threadsafe(self._hand_out)

    def _consume(self, queue: str, prefetch: int) -> None:
        self._prefetches.current[queue] = prefetch
        if queue not in self._backlog.express:
            self.metrics.prefetch.labels(operation_of(queue)).set(prefetch)
        self.transport.consume(queue, prefetch, self._on_delivery)

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
        wait_s = self.clock.now_s() - task.published_at if task.published_at else None
        self.metrics.delivered(task.op, wait_s, redelivered=delivery.redelivered)
        doubt = doubt_of(delivery)
        held = Held(
            PendingTask(task, delivery.body), delivery, Kind(delivery.queue, not task.tiles), task.input_px, doubt
        )
        self.metrics.held.inc()
        if (refusal := self.grants.refusal(task)) is not None:
            # Before anything else: what its headers say of it may be made up, too.
            self._running += 1
            self._finish([held._replace(doubt=Doubt())], self._epoch, refusal)
        elif doubt.worn:
            self._renew(held, doubt.begun)
        elif doubt.unclear:
            self._unclear.add(held)
        elif doubt.alone:
            if doubt.marked:
                self._unclear.came()
            # In no order: each life of a worker gets some of them done before it comes upon the one that ends it.
            first = doubt.marked or self.chance() < 0.5  # noqa: PLR2004
            self._backlog.add(SUSPECTS, held, first=first)
        else:
            self._backlog.add(delivery.queue, held)
        self.wake()

    def _renew(self, held: Held, begun: int, *, marked: bool = False) -> None:
        """Publish a task anew, then ack it."""
        self._running += 1
        self._publish([held], self._epoch, [renewed(held, begun, marked=marked)], attempt=1)

    def _mark(self, held: Held) -> None:
        """Let a task begin that may be what ends workers, or give it up."""
        if not held.doubt.ends_workers:
            self._renew(held, held.doubt.begun + 1, marked=True)
            return
        self._running += 1
        self._finish([held], self._epoch, given_up(held.pending.task, self.clock.now_s()))

    def _hand_out(self) -> None:
        self._scheduled = False
        self._unclear.look()
        while self.pool.room and len(self._backlog) and not self._exclusive:
            waiting = self._backlog.next_queue()
            if waiting[0].doubt.exclusive and self.pool.idle < self.settings.children:
                return  # looked at again when a child has become free
            most = 1 if waiting[0].doubt.alone else self.settings.group_tasks
            length, work_s = group_of(map(self._seconds, waiting), self.settings.group_s, most)
            early = not self.pool.idle
            # While all children work, it may grow until it is full.
            if early and not (self._may_be_early(waiting[0]) and (length < len(waiting) or length == most)):
                return
            if not early and 1 < length == len(waiting) < most and self._grows():
                self._scheduled = True
                self.loop.call_later(BURST_S, self._hand_out)
                return
            self._seen = 0
            group = self._backlog.take(length, work_s)
            self._running += 1
            self._exclusive = group[0].doubt.exclusive
            on_done = partial(self._on_result, group, self._epoch)
            self.pool.submit([held.pending for held in group], on_done, early=early)

    def _grows(self) -> bool:
        """Whether more wait than at the last look: then the rest of a burst may be on its way."""
        before, self._seen = self._seen, len(self._backlog)
        return self._seen > before

    def _may_be_early(self, held: Held) -> bool:
        return not held.doubt.alone and may_be_early(self._seconds(held), self.settings.group_s)

    def _seconds(self, held: Held) -> float:
        return self._pace.seconds(held.kind, held.pixels)

    def _on_result(self, group: list[Held], epoch: int, result: GroupResult) -> None:
        self._exclusive = False
        if result.unbegun:
            group, rest = parted(group, result.unbegun)
            self._put_back(rest, epoch)
        self._finish(group, epoch, result)

    def _put_back(self, rest: list[Held], epoch: int) -> None:
        """Tasks of a group that took too long wait again, before all others of their queue."""
        if epoch != self._epoch:
            return
        if self._draining:
            self.transport.requeue([held.delivery for held in rest])
            return
        for held in reversed(rest):
            self._backlog.add(held.delivery.queue, held, first=True)
        self.wake()

    def _finish(self, group: list[Held], epoch: int, result: GroupResult) -> None:
        self.metrics.observe(result)
        queue = group[0].delivery.queue  # a group comes from one
        for task in result.tasks:
            self._pace.learn(Kind(queue, task.first), task.seconds, task.pixels)
        self._result_log.add(result)
        if epoch != self._epoch:
            return
        traced = group if self.tracing.on else ()
        delivered = [Delivered(held.pending.task, held.delivery.headers) for held in traced]
        headers = contexts_of(self.tracing, delivered, result)
        express = queue in self._backlog.express
        messages = messages_of(result, self.clock.now_s(), headers, express=express)
        self._before_publish()
        self._publish(group, epoch, messages, attempt=1)

    def _publish(self, group: list[Held], epoch: int, messages: list[OutgoingMessage], attempt: int) -> None:
        if epoch == self._epoch:
            began_s = self.clock.monotonic_s()

            def on_settled(problem: PublishProblem | None) -> None:
                if problem is None:
                    self.metrics.confirm_seconds.observe(self.clock.monotonic_s() - began_s)
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
        if group[0].doubt.marked:
            self._unclear.ended()
        self._adapt()

    def _adapt(self) -> None:
        """Let the prefetch of each queue follow what its tasks take."""
        if not self._draining:
            for queue, prefetch in self._prefetches.changes(self._pace, self.clock.monotonic_s()):
                self._consume(queue, prefetch)
