"""How each operation's stage is doing: queue depths, polled beside the loop, and rates from the workers' tallies."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from muniflow.model.api import Stage, StageList
from muniflow.model.topology import all_delays_s, dead_queue, delay_exchange, step_queue
from muniflow_coordinator.runs.rates import StepRates

log = logging.getLogger(__name__)

POLL_S = 2.0
_DELAY_QUEUES = [delay_exchange(delay_s) for delay_s in all_delays_s()]


@dataclass(frozen=True)
class Depth:
    """Messages and consumers of one queue; `None`: not known."""

    ready: int | None = None
    unacked: int | None = None
    consumers: int | None = None


ReadDepths = Callable[[Sequence[str]], Mapping[str, Depth]]
"""The depths of these queues, as far as they exist. May block and may raise anything."""


class Stages:
    """The stages of all operations, as of the last poll."""

    def __init__(self, operations: Sequence[str], rates: StepRates, read_depths: ReadDepths) -> None:
        """Ask `read_depths` in a thread of its own, every `POLL_S` seconds once started."""
        self._operations = operations
        self._rates = rates
        self._read_depths = read_depths
        self._depths: Mapping[str, Depth] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="stages", daemon=True)
        self._problem: str | None = None

    def start(self) -> None:
        """Begin to poll."""
        self._thread.start()

    def stop(self) -> None:
        """Poll no more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def poll(self) -> None:
        """Ask once; trouble is logged when it begins, and the last answer is dropped."""
        queues = [step_queue(operation) for operation in self._operations]
        queues += [dead_queue(name) for name in queues]
        queues += _DELAY_QUEUES
        try:
            self._depths = self._read_depths(queues)
            self._problem = None
        except Exception as error:  # noqa: BLE001 - advisory figures must never stop the coordinator
            self._depths = {}
            if self._problem is None:
                log.warning("queue depths are not known: %s", error)
            self._problem = str(error)

    def _serve(self) -> None:
        while not self._stopping.is_set():
            self.poll()
            self._stopping.wait(POLL_S)

    def answer(self) -> StageList:
        """All stages now."""
        return StageList(stages=tuple(self._stage(operation) for operation in self._operations))

    def without_consumer(self, operation: str) -> bool:
        """Whether it is known that nobody takes the tasks of an operation."""
        return self._depths.get(step_queue(operation), Depth()).consumers == 0

    def no_task_waits(self, operation: str) -> bool:
        """Whether it is known that no task of an operation waits in a queue; tasks that wait for a retry count, too."""
        depths = [self._depths.get(name) for name in (step_queue(operation), *_DELAY_QUEUES)]
        return all(depth is not None and depth.ready == 0 and not depth.unacked for depth in depths)

    def _stage(self, operation: str) -> Stage:
        queue = step_queue(operation)
        depth = self._depths.get(queue, Depth())
        rate, service_s = self._rates.of(operation)
        backlog = None if depth.ready is None else depth.ready + (depth.unacked or 0)
        return Stage(
            op=operation,
            queue=queue,
            ready=depth.ready,
            unacked=depth.unacked,
            consumers=depth.consumers,
            dead=self._depths.get(dead_queue(queue), Depth()).ready,
            rate_tasks_per_s=None if rate is None else round(rate, 3),
            service_s=None if service_s is None else round(service_s, 6),
            drain_s=round(backlog / rate, 1) if backlog is not None and rate else None,
        )
