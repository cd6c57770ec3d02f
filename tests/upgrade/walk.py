"""A stack of one build that is replaced by another one while batches run, process by process, there and back."""

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from itertools import permutations
from pathlib import Path
from typing import Any, Literal

import httpx
from tests.chaos.harness import Harness, document
from tests.chaos.pictures import write_pictures
from tests.chaos.service import Service
from tests.chaos.truth import Document, GuaranteeReport, Truth, digests
from tests.support import web
from tests.upgrade.builds import Build
from tests.upgrade.command_line import CommandLine

from muniflow.runtime.key_files import rotate_keys
from muniflow.runtime.settings import BrokerSettings
from muniflow_cli.commands import exits
from muniflow_cli.stack.broker import PrivateBroker
from muniflow_cli.stack.ports import free_ports
from muniflow_gateway.auth.api_keys import make_key

Role = Literal["coordinator", "workers", "gateway"]
Order = tuple[Role, ...]
RECOMMENDED: Order = ("coordinator", "workers", "gateway")
ORDERS: tuple[Order, ...] = tuple(permutations(RECOMMENDED))
"""All of them: `docs/guides/operate.md` allows any, since Helm replaces everything at once."""
WORKERS = {"resize": 1, "split": 1, "blur": 2}
ROUTES = (
    ([["resize", "50%"], ["split", True], ["blur", "gaussian"]], "png"),
    ([["blur", "median"], ["resize", "40x30"]], "jpg"),
    ([["split", "3x2"], ["blur", "bilateral"], ["resize", "200%"]], "webp"),
    ([["split", True], ["split", True], ["blur", "updownsampling"]], "png"),
)
VARIABLES = {"MUNIFLOW_WINDOW_IMAGES": "16", "MUNIFLOW_GROUP_TASKS": "4"}
"""A small window and small groups: images are at every step at any moment."""
BRISK = "child.after_load=stall:0.01@*"
"""A batch lasts a second or two, on any machine."""
LEAST_OPEN = 30
"""Images that are not settled; with fewer, the next batch is sent."""
MORE = 5
"""Images that must come to their end before the next process is replaced."""
POISON = "poison.jpg"
DRAIN_S = 60.0


@dataclass(frozen=True)
class Place:
    """Where a stack runs, and with what."""

    folder: Path
    broker: BrokerSettings
    node: PrivateBroker | None
    images: int
    """Of each batch."""
    seed: int
    database_url: str = ""
    """Of the ledger; left out: the harness makes one."""


@dataclass
class Walk:
    """The stack, and the batches that keep it busy."""

    harness: Harness
    images: int
    seed: int
    extras: Sequence[Mapping[str, Any]] = ({},)
    """Fields of the batches that keep it busy, by turns."""
    replaced: int = 0
    sent: list[str] = field(default_factory=list)
    _ended: int = 0
    """Images of batches that are over."""
    _open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)
        self.pictures = [*write_pictures(self.harness.root("source"), self.images - 1, self.seed), POISON]
        (self.harness.root("source") / POISON).write_bytes(b"not an image")
        log, port, http = self.harness.folder / "logs" / "gateway.log", *free_ports(2)
        self.url = f"http://127.0.0.1:{http}"
        variables = self.harness.environment() | {
            "MUNIFLOW_GATEWAY_BIND": f"127.0.0.1:{http}",
            "MUNIFLOW_COORDINATOR_URL": f"http://127.0.0.1:{self.harness.coordinator.port}",
            "MUNIFLOW_API_KEYS_FILE": str(self.keys),
        }
        self.headers = self.key("anybody")
        self.harness.services["gateway"] = Service("gateway", "muniflow_gateway", variables, log, port)

    @property
    def keys(self) -> Path:
        """The file of the gateway's keys."""
        return self.harness.folder / "api-keys"

    def key(self, name: str, **fields: Any) -> dict[str, str]:
        """Make a key, and the header that shows it. One without more fields is read by every build."""
        return {"Authorization": f"Bearer {make_key(self.keys, name, fields)}"}

    def document(self, route: int, batch_id: str) -> Document:
        """A batch over all images, by the number of its route."""
        operations, output = ROUTES[route % len(ROUTES)]
        return {**document(batch_id, self.pictures, operations, output), **self.extras[route % len(self.extras)]}

    def know_from(self, cli: CommandLine) -> None:
        """Take the truth from the local engine of a build; otherwise it is that of this tree.

        What the other build does is held against it, too: before the first replacement all outputs are its own.
        """
        for route in range(len(ROUTES)):
            out, source = self.harness.folder / "truth" / str(route), str(self.harness.root("source"))
            written = cli.write(self.document(route, "truth"))
            said = cli("run", written, "--jobs", "1", "--source", source, "--out", str(out))
            assert said.code == exits.FAILED, f"{cli.build.name}: {said.text}"  # one image is poison
            outputs = digests(out / "truth")
            self.harness.know(self.document(route, ""), Truth(outputs, frozenset({POISON}), self.images))

    # Batches

    def keep_busy(self) -> bool:
        """Send the next batch where few images are left, by turns over the broker and through the gateway."""
        for batch in [*self._open]:
            if self.harness.ended(batch):
                self._open.remove(batch)
                self._ended += self.images
        if len(self._open) * self.images - self._done_of_open() >= LEAST_OPEN:
            return True
        sent = self._next_document()
        if self._dice.random() < 0.5:
            self.harness.submit(sent)
        elif not self._post(sent):
            return False
        self._count(sent)
        return True

    def _next_document(self) -> Document:
        return self.document(len(self.sent), f"upgrade-{self.seed}-{len(self.sent)}")

    def _count(self, sent: Document) -> None:
        self.sent.append(sent["batch_id"])
        self._open.append(sent["batch_id"])

    def _post(self, sent: Document) -> bool:
        """Hand a batch in through the gateway; returns whether it took it. Again is the same batch."""
        try:
            answer = web.post(f"{self.url}/v1/batches", json=dict(sent), headers=self.headers, timeout=30)
        except httpx.TransportError:
            return False  # it is being replaced
        if answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            return False
        assert answer.status_code == HTTPStatus.ACCEPTED, answer.text
        self.harness.expect(sent)
        return True

    @property
    def done(self) -> int:
        """Images that are settled."""
        return self._ended + self._done_of_open()

    def _done_of_open(self) -> int:
        return sum(self.harness.done_images(batch) for batch in self._open)

    def submit_through_gateway(self) -> None:
        """The gateway takes a batch, and takes it again as the same one."""
        sent = self._next_document()
        for _ in range(2):
            self.harness.until(lambda: self._post(sent), "the gateway takes a batch")
        self._count(sent)

    # Builds

    def run_on(self, build: Build) -> None:
        """Have everything run on this build, and wait until batches are on their way."""
        for name in self.harness.services:
            self.ensure(name, build)
        self.harness.until_ready()
        self.go_on(self.done + MORE)

    def change(self, order: Order, build: Build) -> None:
        """Replace all processes, role by role, each as soon as the one before it works."""
        for role in order:
            for name in self.names(role):
                before = self.done
                self.put(name, build)
                self.harness.until_ready(name)
                self.replaced += 1
                if role == "gateway":
                    self.submit_through_gateway()
                self.go_on(before + MORE)

    def names(self, role: Role) -> list[str]:
        """The processes of a role."""
        others = {"coordinator", "gateway"}
        return [role] if role in others else [name for name in self.harness.services if name not in others]

    def ensure(self, name: str, build: Build) -> None:
        """Replace a process that does not run on this build."""
        service = self.harness.services[name]
        if not service.running or service.python != build.python:
            self.put(name, build)

    def put(self, name: str, build: Build) -> None:
        """Replace a process; it is not ready yet."""
        self.stop(name)
        self.start(name, build)

    def start(self, name: str, build: Build) -> None:
        """Start a process from a build."""
        service = self.harness.services[name]
        service.python = build.python
        service.start(BRISK if name in self.names("workers") else "")

    def stop(self, name: str) -> None:
        """Drain a process, as Kubernetes does it."""
        service = self.harness.services[name]
        if service.running:
            service.terminate()
            assert service.process.wait(DRAIN_S) == 0, f"{name} did not drain\n{service.text[-3000:]}"

    def go_on(self, done: int) -> None:
        """Wait until so many images are settled, and some are not."""
        self.harness.until(lambda: self.keep_busy() and self.done >= done, f"{done} images")

    def guarantees(self) -> GuaranteeReport:
        """Wait for the end of all batches, and judge them."""
        self.harness.until_ended(*self.sent)
        self.harness.until_clean()
        return replace(self.harness.guarantees(*self.sent), seed=self.seed)


@dataclass(frozen=True)
class Result:
    """What a run did."""

    orders: int
    replaced: int
    batches: int
    guarantees: GuaranteeReport

    def __str__(self) -> str:
        return (
            f"upgrade: orders {self.orders}, processes replaced {self.replaced}, batches {self.batches}, "
            f"{self.guarantees.counts}"
        )


def walk_through(walk: Walk, older: Build, newer: Build, orders: Sequence[Order]) -> Result:
    """Go from the older build to the newer one and back, in each order, while batches run."""
    walk.run_on(older)
    for order in orders:
        walk.change(order, newer)
        walk.change(order[::-1], older)
    return Result(len(orders), walk.replaced, len(walk.sent), walk.guarantees())


@contextmanager
def walking(place: Place, variables: Mapping[str, str] | None = None) -> Iterator[Walk]:
    """A stack of which nothing runs yet."""
    signing, verify = place.folder / "signing.pem", place.folder / "verify.pem"
    rotate_keys(signing, verify)
    # Tasks that a worker of the older build hands on have lost their signature, and run all the same.
    keys = {"MUNIFLOW_SIGNING_KEY_FILE": str(signing), "MUNIFLOW_VERIFY_KEYS_FILE": str(verify)}
    own = {**VARIABLES, **keys, **(variables or {})}
    with Harness(
        *(place.folder, place.broker, place.node, WORKERS, own),
        autostart=(),
        database_url=place.database_url,
        declares=False,  # an older build must find what it made itself, and a newer one what the older one made
    ) as harness:
        harness.tending = False  # nothing may die
        yield Walk(harness, place.images, place.seed)
