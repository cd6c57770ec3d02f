"""A whole stack whose broker, ledger and store are on volumes of their own, any of which may lose power."""

import random
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.chaos.harness import Harness
from tests.power_cuts.volumes import FILE_SYSTEMS, Volume, own_mounts, volume
from tests.support.postgres import PrivatePostgres, find_postgres

from muniflow.runtime.settings import BrokerSettings
from muniflow_cli.stack.broker import PrivateBroker
from muniflow_cli.stack.ports import free_ports

Part = Literal["broker", "ledger", "store"]
PARTS: tuple[Part, ...] = ("broker", "ledger", "store")
LedgerKind = Literal["sqlite", "postgresql"]
DYING_S = 0.05
"""At most so long do processes live on after their volume was cut: their writes get EIO."""
START_LIMIT_S = 300.0
"""A broker starts in 5 s, on a machine with a load of 20 in more than 90."""
VARIABLES = {"MUNIFLOW_WINDOW_IMAGES": "16", "MUNIFLOW_GROUP_TASKS": "4"}
ALL_OPERATIONS = "resize,split,blur"


@dataclass(frozen=True)
class Layout:
    """What a stack is made of."""

    systems: Mapping[Part, str]
    """The file system of each part's volume."""
    ledger: LedgerKind = "sqlite"
    whole_route: bool = False
    """Whether each worker carries all steps, and syncs its outputs with one call for the volume."""

    def __str__(self) -> str:
        systems = ", ".join(f"{part} on {self.systems[part]}" for part in PARTS)
        return f"{systems}; {self.ledger}; {'workers of all steps' if self.whole_route else 'a worker for each step'}"


@dataclass
class PowerStack:
    """The stack, its volumes and its servers."""

    harness: Harness
    node: PrivateBroker
    volumes: Mapping[Part, Volume]
    server: PrivatePostgres | None = None
    failpoints: str = ""
    """`MUNIFLOW_FAILPOINTS` of each service, in all of its lives."""

    def start(self) -> None:
        for service in self.harness.services.values():
            service.start(self.failpoints)

    def cut(self, parts: tuple[Part, ...], dice: random.Random) -> None:
        """Cut the power of volumes; returns when all is up again."""
        for part in parts:
            self.volumes[part].cut()
        time.sleep(dice.uniform(0, DYING_S))  # no condition: the moment is the seed's
        dead = self._end(parts)
        for part in parts:
            self.volumes[part].restore()
        self.harness.faults += 1
        if "ledger" in parts and self.server is not None:
            self.server.start()
        if "broker" in parts:
            self.node.start()
        for name in dead:
            self.harness.services[name].start(self.failpoints)

    def _end(self, parts: tuple[Part, ...]) -> list[str]:
        """End what has files on these volumes; returns the services among them."""
        services = self.harness.services
        dead = list(services) if "store" in parts else ["coordinator"] if "ledger" in parts else []
        for name in dead:
            services[name].kill()
        if "broker" in parts:
            self.node.kill()
        if "ledger" in parts and self.server is not None:
            self.server.stop(signal.SIGQUIT)
        for name in dead:
            left = services[name].left()
            assert not left, f"{name} left {left}"
        return dead


@contextmanager
def power_stack(folder: Path, layout: Layout, failpoints: str = "") -> Iterator[PowerStack]:
    """A stack that runs, on new volumes."""
    folder.chmod(0o711)  # PostgreSQL runs as another user
    with own_mounts(), ExitStack() as stack:
        places = {part: folder / part for part in PARTS}
        volumes = {
            part: stack.enter_context(volume(FILE_SYSTEMS[layout.systems[part]], places[part])) for part in PARTS
        }
        node = PrivateBroker(places["broker"] / "rabbitmq", start_timeout_s=START_LIMIT_S)
        stack.callback(node.kill)
        node.start()
        server = _postgres(stack, places["ledger"]) if layout.ledger == "postgresql" else None
        harness = Harness(
            folder,
            BrokerSettings(amqp_url=node.amqp_url),
            node,
            workers={"resize": 2} if layout.whole_route else {"resize": 1, "split": 1, "blur": 1},
            variables=VARIABLES,
            roots={
                "work": places["store"] / "work",
                "output": places["store"] / "output",
                "state": places["ledger"] / "state",
            },
            autostart=(),
            database_url="" if server is None else server.url,
        )
        if layout.whole_route:
            _carry_all(harness)
        stack.enter_context(harness)
        made = PowerStack(harness, node, volumes, server, failpoints)
        made.start()
        harness.until_ready()
        for each in volumes.values():
            each.settle()
        yield made


def _carry_all(harness: Harness) -> None:
    for name, service in harness.services.items():
        if name != "coordinator":
            service.module = "muniflow.worker.main"
            service.variables = {**service.variables, "MUNIFLOW_OPERATIONS": ALL_OPERATIONS}


def _postgres(stack: ExitStack, place: Path) -> PrivatePostgres:
    programs = find_postgres()
    assert programs is not None, "no PostgreSQL: install Debian's package postgresql"
    home = place / "postgres"
    home.mkdir()
    (port,) = free_ports(1)
    server = PrivatePostgres(programs, home, port)
    server.create()
    stack.callback(server.stop, signal.SIGQUIT)
    server.start()
    return server
