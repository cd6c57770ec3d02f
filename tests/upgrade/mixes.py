"""Every mix of two builds: each process older or newer, both command lines at each, and what people do at each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal

import httpx
from tests.chaos.truth import Document, GuaranteeReport
from tests.support import web
from tests.support.hooks import Hooks
from tests.upgrade.builds import Build
from tests.upgrade.command_line import CommandLine, Said
from tests.upgrade.known import Knowledge, Trait
from tests.upgrade.walk import Walk

from muniflow.errors import NotFound
from muniflow.model.messages import TERMINAL
from muniflow_cli.commands import exits

Way = Literal["broker", "gateway", "older", "newer"]
"""How a batch is handed in; the last two are command lines."""
WAYS: tuple[Way, ...] = ("broker", "gateway", "older", "newer")
OUTDATED = "update the workers"


@dataclass
class Pair:
    """Two builds, and what each knows."""

    older: Build
    newer: Build
    known: dict[str, Knowledge]
    """By `older` and `newer`."""
    cli: dict[str, CommandLine]

    @property
    def both(self) -> Knowledge:
        """What both know."""
        return self.known["older"] & self.known["newer"]


@dataclass
class Mix:
    """A stack in which some processes are of the newer build, and the others of the older one."""

    walk: Walk
    pair: Pair
    asked: Sequence[Trait]
    hooks: Hooks
    owners: tuple[dict[str, str], ...] = ()
    """What two owners show to the gateway."""
    number: int = 0
    newer: frozenset[str] = frozenset()
    """The processes of the newer build."""
    problems: list[str] = field(default_factory=list)
    expected_hooks: set[str] = field(default_factory=set)
    guarantees: GuaranteeReport = field(default_factory=GuaranteeReport)
    batches: int = 0

    def __str__(self) -> str:
        return f"mix {self.number} (newer: {', '.join(sorted(self.newer)) or 'nothing'})"

    # What runs

    def age(self, name: str) -> str:
        """Of a process, or of a command line by its own age."""
        return name if name in self.pair.cli else "newer" if name in self.newer else "older"

    def known(self, *names: str) -> Knowledge:
        """What all of these know."""
        known = self.pair.known[self.age(names[0])]
        for name in names[1:]:
            known &= self.pair.known[self.age(name)]
        return known

    def enter(self, number: int, newer: frozenset[str]) -> None:
        """Replace what is of the other build, while batches run."""
        self.number, self.newer = number, newer
        for name, service in self.walk.harness.services.items():
            build = self.pair.newer if name in newer else self.pair.older
            if service.running and service.python == build.python:
                continue
            self.walk.put(name, build)
            self.walk.replaced += 1
        self.walk.harness.until_ready()
        self.walk.go_on(self.walk.done + 1)

    def wrong(self, text: str) -> None:
        """Note what should not be."""
        self.problems.append(f"{self}: {text}")
        print(self.problems[-1], flush=True)

    # What people do

    def hand_in(self, sent: Document, way: Way) -> str | None:
        """Hand in a batch; returns the text of a refusal."""
        if way == "broker":
            self.walk.harness.submit(sent)
        elif way == "gateway":
            answer = self.ask("POST", "/v1/batches", json=dict(sent))
            if answer.status_code != HTTPStatus.ACCEPTED:
                return answer.text
        else:
            cli = self.pair.cli[way]
            said = self.run(way, "submit", cli.write(sent), "--json", codes=(exits.OK, exits.USAGE))
            if said.code != exits.OK:
                return said.text
        self.walk.harness.expect(sent)
        return None

    def run(self, age: str, *arguments: str, codes: Sequence[int] = (exits.OK,)) -> Said:
        """Run a command of a command line."""
        said = self.pair.cli[age](*arguments)
        if said.code not in codes or "Traceback" in said.text:
            self.wrong(f"{age} muniflow {' '.join(arguments)}: code {said.code}: {said.text[-1500:]}")
        return said

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, **given: Any) -> httpx.Response:
        """Ask the gateway."""
        url = f"{self.walk.url}{path}"
        answer = web.request(method, url, headers=headers or self.walk.headers, timeout=60, **given)
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self.wrong(f"{method} {path}: {answer.status_code}: {answer.text[-500:]}")
        return answer

    # What comes of it

    def send(self, trait: Trait, way: Way) -> tuple[str, int] | None:
        """Hand in a batch with a trait; returns its id and revision where it must be done right."""
        name = f"{trait.name}-{self.walk.seed}" if trait.lasting else f"mix-{self.number}-{trait.name}-{way}"
        asked = (*(() if way == "broker" else (way,)), "coordinator")
        must = all(trait.name in self.pair.known[self.age(each)].traits for each in asked)
        before = self.walk.harness.status(name)
        refusal = self.hand_in(trait.document(name), way)
        if refusal is not None:
            if must or not trait.is_named_in(refusal):
                self.wrong(f"{trait.name} by {way}: refused: {refusal[-500:]}")
            return None
        if not must:
            return None
        revision = before.revision + 1 if trait.lasting and before is not None else 1
        if trait.name == "callback":
            self.expected_hooks.add(name)
        return name, revision

    def has_ended(self, batch: str, revision: int = 1) -> bool:
        """Whether this run of a batch is over."""
        status = self.walk.harness.status(batch)
        return status is not None and status.revision >= revision and status.state in TERMINAL

    def judge(self, batch: str, *, outdated: bool = False) -> None:
        """Hold a batch that has ended against the truth."""
        if outdated and self.outdated(batch):
            return
        found = self.walk.harness.guarantees(batch)
        self.batches += 1
        self.guarantees += found
        if not found.clean:
            self.wrong(f"{batch}: {found}")

    def outdated(self, batch: str) -> bool:
        """Whether images of it failed because an older worker refused them, as it says."""
        images = list(self.walk.harness.client.images(batch, "failed"))
        return bool(images) and all(OUTDATED in " ".join(image.reasons) for image in images)

    def is_gone(self, batch: str) -> bool:
        """Whether the coordinator knows it no more, and its outputs are no more."""
        try:
            self.walk.harness.client.batch(batch)
        except NotFound:
            return not (self.walk.harness.root("output") / batch).exists()
        return False


def gray(names: Sequence[str]) -> Iterator[frozenset[str]]:
    """Every set of these names, each from the one before it by one name that comes or goes; so does the first again."""
    for number in range(2 ** len(names)):
        code = number ^ (number >> 1)
        yield frozenset(name for place, name in enumerate(names) if code >> place & 1)
