"""A harness around a real coordinator: SQLite in a file, local stores, the in-memory broker, and a fake worker."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.support.copying import CopyParams
from tests.support.waiting import LIMIT_S, run_until

from muniflow.forecast.sizes import Picture
from muniflow.images.limits import ImageLimits
from muniflow.images.pictures import OpenBlob, read_picture
from muniflow.model.lineage import Lineage
from muniflow.model.messages import Command, Events, Notice, Settled, Tally, Task
from muniflow.model.operation import Operation, Operations
from muniflow.model.topology import (
    BATCHES,
    CHANGES,
    CONTROL,
    EVENTS,
    EVENTS_EXCHANGE,
    NOTIFY_EXCHANGE,
    ONGOING,
    Exchange,
    Queue,
    Topology,
    dead_queue,
    topology,
    work_queues,
)
from muniflow.planning.budgets import Budgets
from muniflow.runtime.clock import SYSTEM_CLOCK, Clock
from muniflow.runtime.executor import NewExecutor, ThreadExecutor
from muniflow.runtime.failpoints import Failpoints
from muniflow.runtime.loop import Loop, new_loop
from muniflow.store.local import LocalStore
from muniflow.testing.inline import InlineExecutor
from muniflow.testing.memory import MemoryBroker, MemoryTransport
from muniflow.testing.virtual_time import VirtualClock, VirtualLoop
from muniflow.transport.types import Delivery, OutgoingMessage
from muniflow_coordinator.assembly import assemble
from muniflow_coordinator.coordinator import Coordinator
from muniflow_coordinator.foresight.fleet import stages_of
from muniflow_coordinator.foresight.sampler import ReadPictures
from muniflow_coordinator.handlers.absent import ListedKeys
from muniflow_coordinator.handlers.senders import Senders
from muniflow_coordinator.metrics import Metrics
from muniflow_coordinator.resources import Resources, Stores
from muniflow_coordinator.runs.rates import StepRates
from muniflow_coordinator.runs.signer import Signer
from muniflow_coordinator.settings import CoordinatorSettings
from muniflow_coordinator.state.opening import open_state
from muniflow_coordinator.state.sql import SqlState
from muniflow_coordinator.webhooks.config import WebhookConfig
from muniflow_coordinator.webhooks.courier import Send, Webhooks
from muniflow_coordinator.webhooks.sender import nothing_sent

DEADLINE_S = LIMIT_S
NOBODY: Mapping[str, Any] = {}
"""A message that does not name its sender."""


OPERATIONS = {
    name: Operation(name, CopyParams, "Copies, for tests.", ([name, 1], {"op": name, "of": 2}))
    for name in ("copy", "paste")
}


def leaves_of(task: Task) -> list[Lineage]:
    """All leaves below the tiles of this task."""
    fans = [step.fan_out for step in task.route[task.step :] if step.fan_out > 1]
    choices = [[(child, of) for child in range(of)] for of in fans]
    return [(*lineage, *tail) for lineage in task.lineages for tail in product(*choices)]


def all_done(task: Task) -> list[Events]:
    """What good workers answer, taken together."""
    leaves = leaves_of(task)
    settled = tuple(Settled(batch=task.batch, image=task.image, run=task.run, lineage=leaf) for leaf in leaves)
    tallies = tuple(Tally(batch=task.batch, step=step, done=1, pixels=10) for step in range(len(task.route)))
    return [Events(settled=settled, tallies=tallies)]


def failed(task: Task, reason: str = "not an image") -> list[Events]:
    """What a worker answers when the image is broken."""
    return [Events(settled=(Settled(batch=task.batch, image=task.image, run=task.run, reason=reason),))]


def one_by_one(open_blob: OpenBlob, keys: Sequence[str]) -> Sequence[Picture | None]:
    """As `read_pictures`, without threads."""
    return [read_picture(open_blob, key) for key in keys]


Answer = Callable[[Task], list[Events]]


class CoordinatorHarness:
    """Everything around the coordinator; `coordinator` may be thrown away and made again at any time."""

    def __init__(self, root: Path, loop: Loop, clock: Clock, new_executor: NewExecutor) -> None:
        self.root = root
        self.loop = loop
        self.clock = clock
        self.new_executor = new_executor
        self.broker = MemoryBroker(loop, clock=clock)
        self.rates = StepRates(clock)
        self.metrics = Metrics(CollectorRegistry())
        self.senders = Senders("gateway", frozenset({"ops"}), "default", {})
        (root / "source").mkdir()
        self.stores = Stores(LocalStore(root / "source"), LocalStore(root / "work"), LocalStore(root / "output"))
        self.notices: list[Notice] = []
        """Changes, without the news of a batch that goes on."""
        self.news: list[Notice] = []
        self.keys: list[str] = []
        self.tasks: list[Task] = []
        self.answer: Answer = all_done
        self.hold = False
        """Whether the worker keeps its tasks unanswered."""
        self.held: list[Delivery] = []
        self.operations: Operations = OPERATIONS
        """What batches may name; the worker carries only those of `OPERATIONS`."""
        self.express: set[str] = set()
        """Operations whose express tasks are consumed, as the coordinator has been told."""
        self.consumers: dict[str, int | None] = {}
        """Of each operation; not known at first."""
        self.read_pictures: ReadPictures = one_by_one
        # Most sources of these tests are no images, and an unknown size counts as the largest.
        self.budgets = Budgets(limits=ImageLimits(max_growth=10_000))
        self.signer = Signer()
        self.webhooks = WebhookConfig()
        self.send: Send = nothing_sent
        self.given_up: list[str] = []
        """Why a coordinator gave up."""
        self.coordinator: Coordinator | None = None
        self.state: SqlState | None = None
        self.user = self._listener()
        self.worker = self.broker.transport("worker")
        self.worker.start(topology(OPERATIONS), lambda: None, lambda _: None)
        for name in OPERATIONS:
            for queue in work_queues(name):
                self.worker.consume(queue, 10_000, self._on_task)

    @classmethod
    def in_real_time(cls, root: Path) -> "CoordinatorHarness":
        """A harness with threads, as in a process."""
        loop = new_loop()
        return cls(root, loop, SYSTEM_CLOCK, partial(ThreadExecutor.of, loop))

    def _listener(self) -> MemoryTransport:
        user = self.broker.transport("user")
        changes, news = (
            Queue(name, {}, tuple((NOTIFY_EXCHANGE, f"batch.{event}.#") for event in events))
            for name, events in (("test.changes", CHANGES), ("test.news", ONGOING))
        )
        user.start(Topology((Exchange(NOTIFY_EXCHANGE, "topic"),), (changes, news)), lambda: None, lambda _: None)

        def on_notice(delivery: Delivery) -> None:
            heard = self.notices if delivery.queue == changes.name else self.news
            heard.append(Notice.from_bytes(delivery.body))
            user.ack([delivery])

        for queue in (changes, news):
            user.consume(queue.name, 1000, on_notice)
        return user

    def _on_task(self, delivery: Delivery) -> None:
        if self.hold:
            self.held.append(delivery)
            return
        task = Task.from_bytes(delivery.body)
        self.tasks.append(task)
        messages = [OutgoingMessage(EVENTS, events.to_bytes(), EVENTS_EXCHANGE) for events in self.answer(task)]
        self.worker.publish(messages, lambda _problem: self.worker.ack([delivery]))

    def let_go(self, first: int | None = None) -> None:
        """The worker goes on, first with what it held; or it answers only the `first` of that."""
        self.hold = False
        count = len(self.held) if first is None else first
        held, self.held = self.held[:count], self.held[count:]
        for delivery in held:
            self._on_task(delivery)
        self.hold = first is not None

    def start(self, failpoints: Failpoints | None = None, **settings: Any) -> Coordinator:
        """A coordinator on the database of this harness, as a fresh process would make it."""
        failpoints = failpoints or Failpoints()
        self.state = open_state(f"sqlite:///{self.root / 'state.sqlite'}", self.clock, failpoints)
        self.metrics = Metrics(CollectorRegistry())
        self.coordinator = self.make(self.state, self.given_up.append, failpoints, **settings)
        self.coordinator.start()
        return self.coordinator

    def make(
        self, state: SqlState, give_up: Callable[[str], None], failpoints: Failpoints, **settings: Any
    ) -> Coordinator:
        own = CoordinatorSettings(**{"events_linger_s": 0.002} | settings)
        given = Resources(
            loop=self.loop,
            clock=self.clock,
            new_executor=self.new_executor,
            state=state,
            stores=self.stores,
            metrics=self.metrics,
            rates=self.rates,
            failpoints=failpoints,
            no_task_waits=lambda operation: not any(map(self.depth, work_queues(operation))),
            takes_express=self.express.__contains__,
            stages=stages_of(own.stages, self.operations),
            consumers=self.consumers.get,
            senders=self.senders,
            signer=self.signer,
            webhooks=Webhooks(state, self.webhooks, self.send),
            read_pictures=self.read_pictures,
            budgets=self.budgets,
        )
        transport = self.broker.transport("coordinator", self.senders.own_user)
        return assemble(given, self.operations, own, transport, give_up)

    def start_with_held(self, images: int, held: int, **settings: Any) -> None:
        """A coordinator with a batch of which the worker holds the first tasks."""
        self.pictures(images)
        self.hold = True
        self.start(**settings)
        self.submit()
        self.until(lambda: len(self.held) == held)

    def crash(self) -> None:
        """Throw the coordinator away: nothing that it holds in memory survives, its deliveries come back."""
        if self.coordinator is not None and self.state is not None:
            self.coordinator.halt()
            self.coordinator.transport.stop(lambda: None)
            self.state.close()
            self.coordinator = self.state = None

    def until(self, condition: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
        """Run the loop until `condition` holds; fails after the deadline."""
        run_until(self.loop, condition, deadline_s, lambda: f"notices {[notice.state for notice in self.notices]}")

    def submit(self, wait: bool = True, *, sender: Mapping[str, Any] = NOBODY, **document: Any) -> None:
        """Publish a batch document, as any AMQP client may."""
        base = {"batch_id": "b", "source": "in", "operations": [["copy", 1]]}
        self.publish(BATCHES, json.dumps(base | document).encode(), wait=wait, sender=sender)

    def command(self, action: Any, batch: str = "b", *, sender: Mapping[str, Any] = NOBODY, **chosen: Any) -> None:
        """Publish a command."""
        self.publish(CONTROL, Command(action=action, batch=batch, **chosen).to_bytes(), sender=sender)

    def publish(self, queue: str, body: bytes, wait: bool = True, sender: Mapping[str, Any] = NOBODY) -> None:
        """Publish to a queue once it is there; `sender` are properties of the message."""
        confirmed: list[object] = []
        if self.broker.queue(queue) is None:
            self.until(lambda: self.broker.queue(queue) is not None)
        self.user.publish([OutgoingMessage(queue, body, "", **sender)], confirmed.append)
        if wait:
            self.until(lambda: confirmed)
            assert confirmed == [None]

    def pictures(self, count: int, folder: str = "in") -> None:
        """Make source blobs; what is in them does not matter to the coordinator."""
        for number in range(count):
            self.stores.source.write(f"{folder}/{number:04}.jpg", b"x")

    def ended(self, batch: str = "b") -> Notice | None:
        """The last notice of a batch if it says that the batch is in a terminal state, and the database agrees."""
        mine = [notice for notice in self.notices if notice.batch == batch]
        if not mine or mine[-1].state in {"running", "intake"}:
            return None
        if mine[-1].state != "rejected":
            row = self.state.find(batch) if self.state else None
            return mine[-1] if row and row.state == mine[-1].state else None
        return mine[-1]

    def finish(self, batch: str = "b", deadline_s: float = DEADLINE_S) -> Notice:
        """Run until the batch has come to its end; returns its last notice."""
        self.until(lambda: self.ended(batch), deadline_s)
        notice = self.ended(batch)
        assert notice is not None
        return notice

    def report(self, destination: str = "b") -> dict[str, Any]:
        """The report of a batch."""
        report: dict[str, Any] = json.loads(bytes(self.stores.output.read(f"{destination}/report.json")))
        return report

    def depth(self, queue: str) -> int:
        """Ready messages of a queue."""
        return self.broker.depths().get(queue, 0)

    def letters(self, queue: str) -> list[bytes]:
        """What the ledger keeps of the messages of a queue that were given up."""
        assert self.state
        return [letter.body for letter in self.state.letters(queue=dead_queue(queue))]

    def close(self) -> None:
        """Stop everything."""
        self.crash()
        self.worker.stop(lambda: None)
        self.user.stop(lambda: None)
        loop: Any = self.loop
        loop.close()


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[CoordinatorHarness]:
    """A harness with an empty store and no coordinator yet."""
    with closing(CoordinatorHarness.in_real_time(tmp_path)) as made:
        yield made


@pytest.fixture
def virtual_harness() -> Callable[[Path], CoordinatorHarness]:
    """Makes a harness in an empty folder that runs on one thread, in virtual time."""

    def make(root: Path) -> CoordinatorHarness:
        root.mkdir()
        clock = VirtualClock()
        loop = VirtualLoop(clock)
        return CoordinatorHarness(root, loop, clock, partial(InlineExecutor, loop))

    return make


@pytest.fixture
def unlisted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names in a manifest need no files: no listing tells that they are not there."""
    monkeypatch.setattr(ListedKeys, "find", lambda *_: None)


@pytest.fixture
def answers() -> dict[str, Any]:
    """What the fake worker can answer."""
    return {"all_done": all_done, "failed": failed, "leaves_of": leaves_of}
