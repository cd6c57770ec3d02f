"""A whole stack of real processes that a test may trouble: broker, coordinator, one worker or more for each step."""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from tests.chaos.ledger import LEDGERS
from tests.chaos.service import Service
from tests.chaos.truth import Document, GuaranteeReport, Truth, judge, total, truth_of
from tests.support.declared import declared
from tests.support.waiting import eventually

from muniflow.errors import NotFound, Unavailable
from muniflow.model.api import BatchStatus
from muniflow.model.messages import TERMINAL, Command
from muniflow.model.operation import installed_operations
from muniflow.model.topology import BATCHES, CONTROL, topology
from muniflow.runtime.settings import BrokerSettings
from muniflow.store.folders import TEMPORARY
from muniflow.transport.admin import delete_queues, open_channel, queue_depths, queue_metrics, republish
from muniflow.transport.types import OutgoingMessage
from muniflow_cli.commands.client import CoordinatorApi
from muniflow_cli.stack.broker import PrivateBroker
from muniflow_cli.stack.ports import free_ports

OPERATIONS = ("resize", "split", "blur")
LIMIT_S = 120.0
"""For anything that takes seconds on a quiet machine."""
IDENTITY = ("batch_id", "destination")
SETTINGS = {
    "MUNIFLOW_RECONNECT_MAX_S": "1",
    "MUNIFLOW_GROUP_TASKS": "8",
}


@dataclass
class Harness:
    """The stack, its folders, and the batches that were sent to it."""

    folder: Path
    settings: BrokerSettings
    node: PrivateBroker | None = None
    """The broker itself, where it is ours to kill."""
    workers: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(OPERATIONS, 1))
    variables: Mapping[str, str] = field(default_factory=dict)
    roots: Mapping[str, Path] = field(default_factory=dict)
    """Where `source`, `work`, `output` and `state` are, if not below `folder`."""
    autostart: tuple[str, ...] | None = None
    """What `with` starts; `None`: everything."""
    declares: bool = True
    """Whether queues are there before anything starts; otherwise exchanges go, too: the services make their own."""
    goes_on: bool = False
    """Whether the broker keeps the queues that it has."""
    database_url: str = ""
    """Of the ledger; made where it is left out."""
    services: dict[str, Service] = field(default_factory=dict)
    tending: bool = True
    """Whether what dies is started again, as Kubernetes does it."""
    faults: int = 0
    _truths: dict[str, Truth] = field(default_factory=dict)
    _sent: dict[str, Document] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("source", "work", "output", "state"):
            self.root(name).mkdir(parents=True, exist_ok=True)
        (self.folder / "logs").mkdir(exist_ok=True)
        self.database_url = self.database_url or LEDGERS.url(self.root("state"))
        modules = {"coordinator": "muniflow_coordinator"}
        for operation, count in self.workers.items():
            module = f"muniflow_{operation}" if operation in OPERATIONS else "muniflow.worker.main"
            modules |= {f"{operation}-{number}": module for number in range(1, count + 1)}
        for (name, module), port in zip(modules.items(), free_ports(len(modules)), strict=True):
            log = self.folder / "logs" / f"{name}.log"
            own = {} if name == "coordinator" else {"MUNIFLOW_OPERATIONS": name.partition("-")[0]}
            self.services[name] = Service(name, module, {**self.environment(), **own}, log, port)

    def root(self, name: str) -> Path:
        return self.roots.get(name, self.folder / name)

    def environment(self) -> dict[str, str]:
        """What all services are told."""
        own = {
            "MUNIFLOW_AMQP_URL": self.settings.amqp_url,
            "MUNIFLOW_SOURCE_URL": str(self.root("source")),
            "MUNIFLOW_WORK_URL": str(self.root("work")),
            "MUNIFLOW_OUTPUT_URL": str(self.root("output")),
            "MUNIFLOW_DATABASE_URL": self.database_url,
        }
        return {**own, **SETTINGS, **self.variables}

    # Life

    def __enter__(self) -> Self:
        """Begin with an empty broker, unless it goes on."""
        queues = topology({*installed_operations(), *self.workers})
        if not self.goes_on:
            with suppress(NotFound):
                delete_queues(self.settings, [queue.name for queue in queues.queues])
        if self.declares:
            declared(self.settings, queues)
        else:
            self._forget([exchange.name for exchange in queues.exchanges])
        for name in self.services if self.autostart is None else self.autostart:
            self.services[name].start()
        return self

    def _forget(self, exchanges: Iterable[str]) -> None:
        with open_channel(self.settings) as channel:
            for name in exchanges:
                channel.exchange_delete(name)

    def __exit__(self, *_: object) -> None:
        for service in self.services.values():
            service.kill()

    @property
    def coordinator(self) -> Service:
        return self.services["coordinator"]

    @property
    def client(self) -> CoordinatorApi:
        return CoordinatorApi(f"http://127.0.0.1:{self.coordinator.port}", timeout_s=5)

    def tend(self) -> None:
        """Start again what died; each death counts as a fault."""
        for service in self.services.values():
            if service.process is not None and not service.running and self.tending:
                self.faults += 1
                service.start()

    def until(self, condition: Callable[[], bool], what: str, limit_s: float = LIMIT_S) -> None:
        """Tend the stack until `condition` holds."""

        def tended() -> bool:
            self.tend()
            return condition()

        eventually(tended, limit_s, lambda: f"{what}\n{self.tails()}")

    def until_ready(self, *names: str) -> None:
        """Wait for the first readiness; what ends by itself before that cannot work at all."""
        waited_for = [self.services[name] for name in names or self.services]

        def ready() -> bool:
            dead = [service.name for service in waited_for if not service.running]
            assert not dead, f"{dead} ended at its start\n{self.tails()}"
            return all(service.ready for service in waited_for)

        tending, self.tending = self.tending, False
        self.until(ready, "ready")
        self.tending = tending

    def tails(self, characters: int = 1500) -> str:
        return "\n".join(f"== {name}\n{service.text[-characters:]}" for name, service in self.services.items())

    # Batches

    def submit(self, *documents: Document, times: int = 1) -> None:
        """Publish batches with confirms; the broker must be there."""
        with open_channel(self.settings) as channel:
            for document in documents:
                for _ in range(times):
                    republish(channel, OutgoingMessage(BATCHES, json.dumps(dict(document)).encode()))
                self.expect(document)

    def submit_again(self) -> None:
        """The batch that was sent last, under another id."""
        *_, last = self._sent.values()
        self.submit({**last, "batch_id": f"again-{self.batches}"})

    def expect(self, document: Document) -> None:
        """Judge this batch, too: it was handed in."""
        self._sent[document["batch_id"]] = document

    def command(self, action: Literal["cancel", "reopen", "erase"], batch: str) -> None:
        """Publish a command to the coordinator, with confirms."""
        with open_channel(self.settings) as channel:
            republish(channel, OutgoingMessage(CONTROL, Command(action=action, batch=batch).to_bytes()))

    def status(self, batch: str) -> BatchStatus | None:
        """A batch now, or `None` when nobody can tell."""
        with suppress(NotFound, Unavailable):
            return self.client.batch(batch)
        return None

    def done_images(self, batch: str) -> int:
        status = self.status(batch)
        return 0 if status is None else status.done + status.failed

    def ended(self, batch: str) -> bool:
        status = self.status(batch)
        return status is not None and status.state in TERMINAL

    def gone(self, batch: str) -> bool:
        """Whether nothing is known of a batch any more."""
        with suppress(Unavailable):
            try:
                self.client.batch(batch)
            except NotFound:
                return True
        return False

    def until_ended(self, *batches: str, limit_s: float = LIMIT_S) -> None:
        waiting = list(batches or self._sent)

        def none_waits() -> bool:
            while waiting and self.ended(waiting[-1]):
                waiting.pop()
            return not waiting

        self.until(none_waits, f"the end of {len(waiting)} batches", limit_s)

    # Judgement

    def know(self, document: Document, truth: Truth) -> None:
        """Give the truth of a batch that no engine could run without faults."""
        self._truths[_key(document)] = truth

    def truth(self, document: Document) -> Truth:
        """The fault-free run; batches that differ by their id only share it."""
        content = {name: value for name, value in document.items() if name not in IDENTITY}
        key = _key(document)
        if key not in self._truths:
            scratch = self.folder / "truth" / str(len(self._truths))
            self._truths[key] = truth_of({**content, "batch_id": "truth"}, self.root("source"), scratch)
        return self._truths[key]

    def settled_images(self) -> int:
        """Of all batches that were sent."""
        return sum(map(self.done_images, self._sent))

    def all_ended(self) -> bool:
        return all(map(self.ended, reversed(self._sent)))

    @property
    def batches(self) -> int:
        """How many batches were sent."""
        return len(self._sent)

    def unfinished(self) -> list[Path]:
        """Files among the outputs that a killed process did not finish."""
        return list(self.root("output").rglob(f"{TEMPORARY}*"))

    def guarantees(self, *batches: str) -> GuaranteeReport:
        """The guarantees on these batches, or on all that were sent."""
        judged = [
            judge(self.truth(sent), self.status(batch), self.root("output") / sent.get("destination", batch))
            for batch, sent in self._sent.items()
            if batch in (batches or self._sent)
        ]
        return total(judged) + GuaranteeReport(faults=self.faults)

    def until_clean(self) -> None:
        """No queue holds a message and no intermediate is left: late copies have come to nothing."""
        self.until(lambda: not self.held_messages(), "empty queues")
        self.until(lambda: not self.intermediates(), "an empty work store")

    def held_messages(self) -> dict[str, int]:
        """Messages in the queues that must run empty; dead letters are kept."""
        return {name: depth for name, depth in self.depths().items() if depth and not name.endswith(".dead")}

    def dead_letters(self) -> int:
        """Failures and letters that the ledger lists."""
        failed = sum(group.images for group in self.client.failure_counts().groups)
        return failed + sum(1 for _ in self.client.letters())

    def depths(self) -> dict[str, int]:
        """Messages of each queue, as of a second ago."""
        names = [queue.name for queue in topology(self.workers).queues]
        if self.node is None:
            return {name: depth.ready for name, depth in queue_depths(self.settings, names).items()}
        metrics = queue_metrics(self.node.metrics_url)
        return {name: metrics[name].ready + metrics[name].unacked for name in names if name in metrics}

    def intermediates(self) -> list[Path]:
        return [path for path in self.root("work").rglob("*") if path.is_file()]

    def metric(self, service: str, name: str) -> float:
        """The value of a sample of a process, as `/metrics` writes it; 0 when it is not there."""
        import urllib.request

        url = f"http://127.0.0.1:{self.services[service].port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), 0.0)


def _key(document: Document) -> str:
    return json.dumps({name: value for name, value in document.items() if name not in IDENTITY}, sort_keys=True)


def document(batch_id: str, images: Iterable[str], operations: Any = None, output: str = "png") -> Document:
    """A batch over these images."""
    route = operations or [["resize", "50%"], ["split", True], ["blur", "gaussian"]]
    return {"batch_id": batch_id, "images": list(images), "operations": route, "output": output}
