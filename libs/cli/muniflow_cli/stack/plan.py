"""What a local stack consists of, decided as data before anything starts."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from muniflow.errors import Fault, Invalid
from muniflow.forecast.stage import Stage, Stages, write_stages
from muniflow.runtime.settings import GatewayAddress, to_env
from muniflow.worker.settings import WorkerSettings
from muniflow_cli.stack.state import Role

MAX_WORKERS = 64
"""Limit for one operation on one machine; more is a typing error."""
WORKER_START_S = 2.0
"""Until a worker consumes."""
START_TIMEOUT_S = 60.0
"""Time for a process to become ready for the first time."""
Speaks = Literal["http", "amqp", "tcp"]
"""How a process shows that it is ready: it says so at `/readyz`, AMQP greets, or the port is open."""
COORDINATOR_MODULE = "muniflow_coordinator"
GATEWAY_MODULE = "muniflow_gateway"
WORKER_MODULE = "muniflow.worker.main"


@dataclass(frozen=True)
class WorkerGroup:
    """Workers that carry the same operations."""

    operations: tuple[str, ...]
    """More than one: consecutive ones are chained in memory."""
    replicas: int = 1

    @property
    def name(self) -> str:
        """`resize`, or `resize+split` for a chain."""
        return "+".join(self.operations)


@dataclass(frozen=True)
class ProcessPlan:
    """One process to keep running."""

    name: str
    role: Role
    command: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment of the stack."""
    variables_only: bool = False
    """Whether `variables` are its whole environment."""
    folder: Path | None = None
    """Where it runs; the current folder where it is left out."""
    port: int = 0
    """Where it is asked whether it is ready."""
    speaks: Speaks = "http"
    own_ports: tuple[int, ...] = ()
    """Ports of the loopback interface that must be free when it starts."""
    needs: str | None = None
    """The process that must be ready before it starts."""
    start_timeout_s: float = START_TIMEOUT_S


def counts_in(text: str) -> Iterator[tuple[str, str, str]]:
    """Each part of `resize=2,blur=4` with its name and its digits; no digits where it has another form."""
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = part.partition("=")
        yield part, name, number if number.isdecimal() else ""


def read_workers(text: str, operations: Sequence[str]) -> dict[str, int]:
    """Read `resize=2,blur=4`; operations that are not named get one worker, `=0` none.

    Raises:
        Invalid: naming the part that is wrong.
    """
    workers = dict.fromkeys(operations, 1)
    for part, name, number in counts_in(text):
        if name not in operations:
            raise Invalid((Fault("--workers", f"unknown operation {name!r}; installed: {_listed(operations)}"),))
        if not number or int(number) > MAX_WORKERS:
            raise Invalid((Fault("--workers", f"write {name}=<0 to {MAX_WORKERS}>, not {part!r}"),))
        workers[name] = int(number)
    return workers


def read_chain(text: str, operations: Sequence[str]) -> tuple[str, ...]:
    """Read `resize,split,blur`: the operations that one worker carries.

    Raises:
        Invalid: naming the operation that is not installed, or is named twice.
    """
    names = tuple(filter(None, (name.strip() for name in text.split(","))))
    for name in names:
        if name not in operations:
            raise Invalid((Fault("--chain", f"unknown operation {name!r}; installed: {_listed(operations)}"),))
    if len(set(names)) != len(names):
        raise Invalid((Fault("--chain", "name each operation once: a worker carries it or does not"),))
    return names


def worker_groups(workers: Mapping[str, int], chains: Sequence[tuple[str, ...]]) -> tuple[WorkerGroup, ...]:
    """One group for each chain, as large as its largest operation asks for, and one for each operation in none."""
    chained = {name for chain in chains for name in chain}
    groups = [WorkerGroup(chain, max(workers[name] for name in chain)) for chain in chains if chain]
    groups += [WorkerGroup((name,), count) for name, count in workers.items() if name not in chained]
    return tuple(group for group in groups if group.replicas)


def stages_of(groups: Sequence[WorkerGroup], worker: WorkerSettings) -> Stages:
    """What the coordinator is told about the groups: a stack does not scale, so each has the replicas that it has.

    An operation that two chains carry counts in the first one.
    """
    stages: list[Stage] = []
    carried: set[str] = set()
    for group in groups:
        if operations := tuple(name for name in group.operations if name not in carried):
            carried.update(operations)
            stages.append(
                Stage(
                    name="-".join(operations),
                    operations=operations,
                    children=worker.children,
                    device=worker.device,
                    min_replicas=group.replicas,
                    max_replicas=group.replicas,
                    start_s=WORKER_START_S,
                )
            )
    return tuple(stages)


NO_KEYS: Mapping[str, str] = {}
"""Tasks are not signed."""


def coordinator_plan(
    http_port: int,
    health_port: int,
    stages: Stages = (),
    keys: Mapping[str, str] = NO_KEYS,
    profile: Path | None = None,
) -> ProcessPlan:
    """The coordinator, serving its API and its health at these ports; `keys` name what it signs with.

    Without stages it counts on one for each operation, on this machine. `profile` has service times of this machine.
    """
    return ProcessPlan(
        name="coordinator",
        role="coordinator",
        command=(sys.executable, "-m", COORDINATOR_MODULE),
        variables={
            "MUNIFLOW_HTTP_BIND": f"127.0.0.1:{http_port}",
            "MUNIFLOW_HEALTH_BIND": f"127.0.0.1:{health_port}",
            **_shared_cores(),
            "MUNIFLOW_EARLIER_BUILD": "false",
            **({"MUNIFLOW_STAGES": write_stages(stages)} if stages else {}),
            **({} if profile is None else {"MUNIFLOW_PROFILE_FILE": str(profile.resolve())}),
            **keys,
        },
        port=health_port,
        own_ports=(http_port, health_port),
    )


def _shared_cores() -> Mapping[str, str]:
    """All of a stack's processes run on the cores of this machine."""
    return {"MUNIFLOW_SHARED_CORES": str(len(os.sched_getaffinity(0)))}


def gateway_plan(http_port: int, address: GatewayAddress, api_keys_file: Path) -> ProcessPlan:
    """The gateway, serving metrics and health at this port, and the API and the page at `address`."""
    return ProcessPlan(
        name="gateway",
        role="gateway",
        command=(sys.executable, "-m", GATEWAY_MODULE),
        variables={
            "MUNIFLOW_HTTP_BIND": f"127.0.0.1:{http_port}",
            **to_env(address),
            "MUNIFLOW_API_KEYS_FILE": str(api_keys_file),
        },
        port=http_port,
        own_ports=(http_port,),
    )


def worker_plans(
    groups: Sequence[WorkerGroup], http_ports: Sequence[int], keys: Mapping[str, str] = NO_KEYS
) -> tuple[ProcessPlan, ...]:
    """One process for each replica, each with its own port; `keys` name what they verify with.

    A single operation runs as its own service does (`python -m muniflow_resize`).
    """
    members = [(group, number) for group in groups for number in range(1, group.replicas + 1)]
    return tuple(
        ProcessPlan(
            name=f"{group.name}-{number}",
            role="worker",
            command=(sys.executable, "-m", _module(group)),
            variables={
                "MUNIFLOW_HTTP_BIND": f"127.0.0.1:{port}",
                "MUNIFLOW_OPERATIONS": ",".join(group.operations),
                **_shared_cores(),
                **keys,
            },
            port=port,
            own_ports=(port,),
        )
        for (group, number), port in zip(members, http_ports, strict=True)
    )


def replica_count(groups: Sequence[WorkerGroup]) -> int:
    """How many worker processes there will be."""
    return sum(group.replicas for group in groups)


def _module(group: WorkerGroup) -> str:
    return f"muniflow_{group.operations[0]}" if len(group.operations) == 1 else WORKER_MODULE


def _listed(operations: Sequence[str]) -> str:
    return ", ".join(operations) or "none"
