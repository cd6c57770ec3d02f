"""The state of each operation's stage: queue depths, polled beside the loop, and rates from the workers' tallies."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from muniflow.model.api import StageStatus
from muniflow.model.topology import all_delays_s, delay_exchange, express_queue, step_queue, work_queues
from muniflow.runtime.executor import Repeater
from muniflow_coordinator.runs.rates import StepRates

log = logging.getLogger(__name__)

POLL_S = 2.0
_DELAY_QUEUES = [delay_exchange(delay_s) for delay_s in all_delays_s()]


@dataclass(frozen=True)
class QueueDepth:
    """Messages and consumers of one queue; `None`: not known."""

    ready: int | None = None
    unacked: int | None = None
    consumers: int | None = None


ReadDepths = Callable[[Sequence[str]], Mapping[str, QueueDepth]]
"""Returns the depths of those of the queues that exist. May block, and may raise any error."""


class Stages:
    """The stages of all operations, as of the last poll."""

    def __init__(
        self,
        operations: Sequence[str],
        rates: StepRates,
        read_depths: ReadDepths,
        repeater: Repeater,
        failed: Callable[[str], int | None] = lambda _operation: None,
    ) -> None:
        """Call `read_depths` by `repeater`, every `POLL_S` seconds once started; `failed` is asked for each answer."""
        self._operations = operations
        self._rates = rates
        self._read_depths = read_depths
        self._repeater = repeater
        self._failed = failed
        self._depths: Mapping[str, QueueDepth] = {}
        self._depths_before: Mapping[str, QueueDepth] = {}
        self._problem: str | None = None

    def start(self) -> None:
        """Begin to poll."""
        self._repeater.start(self.poll)

    def stop(self) -> None:
        """Stop polling."""
        self._repeater.stop()

    def poll(self) -> float:
        """Read all depths once; after an error none is known. Returns the pause until the next poll, in seconds."""
        queues = [queue for operation in self._operations for queue in work_queues(operation)]
        queues += _DELAY_QUEUES
        try:
            self._depths, self._depths_before = self._read_depths(queues), self._depths
            self._problem = None
        except Exception as error:  # noqa: BLE001 - figures for people must never stop the coordinator
            self._depths, self._depths_before = {}, {}
            if self._problem is None:
                log.warning("cannot read queue depths: %s", error)
            self._problem = str(error)
        return POLL_S

    def answer(self) -> tuple[StageStatus, ...]:
        """Return the stages of all operations now."""
        return tuple(self._stage(operation) for operation in self._operations)

    def consumers(self, operation: str) -> int | None:
        """Return how many consume the tasks of an operation; `None` if it is not known."""
        return _consumers(self._depths, operation)

    def replicas(self, operation: str) -> int | None:
        """Return how many workers an operation has; `None` if it is not known.

        A worker that changes its prefetch consumes twice for a moment, so of the last two polls the lower one counts.
        """
        now, before = self.consumers(operation), _consumers(self._depths_before, operation)
        return min(now, before) if now and before else now

    def without_consumer(self, operation: str) -> bool:
        """Return whether it is certain that nobody consumes the tasks of an operation."""
        return self.consumers(operation) == 0

    def no_task_waits(self, operation: str) -> bool:
        """Return whether it is certain that no task of an operation waits in a queue, also not for a retry."""
        depths = [self._depths.get(name) for name in (*work_queues(operation), *_DELAY_QUEUES)]
        return all(depth is not None and depth.ready == 0 and not depth.unacked for depth in depths)

    def takes_express(self, operation: str) -> bool:
        """Return whether it is certain that somebody consumes the express tasks of an operation.

        Workers of an earlier build do not, and a stage without workers has nothing to overtake.
        """
        return bool(self._depths.get(express_queue(operation), QueueDepth()).consumers)

    def _stage(self, operation: str) -> StageStatus:
        queue = step_queue(operation)
        depth = self._depths.get(queue, QueueDepth())
        express = self._depths.get(express_queue(operation), QueueDepth())
        ready, unacked = _sum(depth.ready, express.ready), _sum(depth.unacked, express.unacked)
        rate, service_s = self._rates.of(operation)
        backlog = None if ready is None else ready + (unacked or 0)
        return StageStatus(
            op=operation,
            queue=queue,
            ready=ready,
            unacked=unacked,
            consumers=self.consumers(operation),
            dead=self._failed(operation),
            rate_tasks_per_s=None if rate is None else round(rate, 3),
            service_s=None if service_s is None else round(service_s, 6),
            drain_s=round(backlog / rate, 1) if backlog is not None and rate else None,
        )


def _consumers(depths: Mapping[str, QueueDepth], operation: str) -> int | None:
    """Return how many consume the tasks of an operation; `None` if it is not known.

    A quorum queue counts a consumer that is gone until the last of its deliveries is settled, which takes seconds where
    a worker changed its prefetch: one was counted as three. It consumes both lanes, and of one it seldom holds any.
    """
    normal, express = (depths.get(queue, QueueDepth()).consumers for queue in work_queues(operation))
    return min(normal, express) if normal and express else normal


def _sum(normal: int | None, express: int | None) -> int | None:
    """Return both lanes together; the express queue is not there before a coordinator of this build has connected."""
    return None if normal is None else normal + (express or 0)
