"""A whole worker over the in-memory broker, on one loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry
from tests.support.compute_help import SUPPORT

from muniflow.compute.pool import ComputePool
from muniflow.compute.spec import ChildSpec
from muniflow.model.lineage import Coverage
from muniflow.model.messages import Events, Settled, Tally, Task
from muniflow.model.topology import EVENTS, TASKS_EXCHANGE, step_queue, topology
from muniflow.runtime.loop import Loop, new_loop
from muniflow.testing.memory import MemoryBroker
from muniflow.transport.types import Delivery, OutgoingMessage
from muniflow.worker.metrics import WorkerMetrics
from muniflow.worker.serve import Worker, new_worker
from muniflow.worker.settings import WorkerSettings

LIMIT_S = 60.0


@dataclass
class WorkerHarness:
    """A broker, a worker, and the coordinator's side of it."""

    spec: ChildSpec
    operations: tuple[str, ...]
    settings: WorkerSettings = field(default_factory=WorkerSettings)
    delay_scale: float = 0.001
    settled: list[Settled] = field(default_factory=list)
    tallies: list[Tally] = field(default_factory=list)
    coverage: dict[int, Coverage] = field(default_factory=dict)
    on_settled: Callable[[], None] = lambda: None
    exit_code: int | None = None

    def __post_init__(self) -> None:
        self.loop: Loop = new_loop()
        self.broker = MemoryBroker(self.loop, delay_scale=self.delay_scale)
        self.coordinator = self.broker.transport("coordinator")
        self.registry = CollectorRegistry()
        self.worker = self.new_worker()

    def new_worker(self) -> Worker:
        self.pool = ComputePool(self.loop, self.spec, self.settings.children, python_path=(str(SUPPORT),))
        metrics = WorkerMetrics(self.registry)
        return new_worker(
            self.loop,
            self.broker.transport("worker"),
            self.pool,
            operations=self.operations,
            settings=self.settings,
            metrics=metrics,
        )

    def run(self, messages: Sequence[OutgoingMessage]) -> None:
        """Publish `messages`, then run the worker until something stops it."""
        self.coordinator.consume(EVENTS, 1000, self._on_events)
        declared = topology(self.operations)
        unpublished = list(messages)

        def publish_once() -> None:
            self.coordinator.publish(tuple(unpublished), lambda _problem: None)
            unpublished.clear()

        self.coordinator.start(declared, publish_once, lambda _reason: None)
        timer = self.loop.call_later(LIMIT_S, self.worker.stop)
        self.exit_code = self.worker.run()
        self.loop.remove_timeout(timer)
        self.loop.close()

    def sample(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0

    def _on_events(self, delivery: Delivery) -> None:
        events = Events.from_bytes(delivery.body)
        self.tallies += events.tallies
        for part in events.settled:
            self.settled.append(part)
            self.coverage.setdefault(part.image, Coverage()).add(part.lineage)
        self.coordinator.ack([delivery])
        self.on_settled()


def published(tasks: Sequence[Task]) -> list[OutgoingMessage]:
    return [OutgoingMessage(step_queue(task.op), task.to_bytes(), TASKS_EXCHANGE) for task in tasks]


def run_over_memory_broker(_root: Path, tasks: Sequence[Task], spec: ChildSpec) -> WorkerHarness:
    """Run `tasks` with one worker that carries all their operations, until every image is settled."""
    operations = tuple(dict.fromkeys(step.op for task in tasks for step in task.route))
    harness = WorkerHarness(spec, operations)

    def stop_when_complete() -> None:
        complete = [image for image, coverage in harness.coverage.items() if coverage.complete]
        if len(complete) == len(tasks):
            harness.worker.stop()

    harness.on_settled = stop_when_complete
    harness.run(published(tasks))
    return harness
