"""A whole muniflow of this machine for a benchmark: private broker, coordinator and workers as real processes.

Everything is on as it is for users: quorum queues, confirms, mandatory, heartbeats, the ledger, compute children,
durable outputs. Only settings that a deployment chooses are chosen here: which operations a worker carries, how many
workers there are, one compute child each.
"""

import http.client
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import proc
from benchmarks.client import Client, consumers
from benchmarks.processes import Processes
from muniflow.model.topology import BATCHES
from muniflow.runtime.settings import BrokerSettings, StoreSettings, to_env
from muniflow.runtime.startable import Startable
from muniflow_cli.stack.broker import PrivateBroker
from muniflow_cli.stack.plan import ProcessPlan, WorkerGroup, coordinator_plan, replica_count, worker_plans
from muniflow_cli.stack.ports import free_ports, says_ready

PARENT, CHILD = "parent", "child"
"""How the names of a worker's hops end."""
START_S = 180.0
"""To start each part, on a machine that may be very busy."""


@dataclass(frozen=True)
class Usage:
    """CPU seconds so far, by part."""

    broker_s: float
    coordinator_s: float
    parents_s: float
    children_s: float

    @property
    def total_s(self) -> float:
        """All of it."""
        return self.broker_s + self.coordinator_s + self.parents_s + self.children_s

    def since(self, earlier: "Usage") -> "Usage":
        """What was used between two moments."""
        return Usage(
            self.broker_s - earlier.broker_s,
            self.coordinator_s - earlier.coordinator_s,
            self.parents_s - earlier.parents_s,
            self.children_s - earlier.children_s,
        )


class Cluster(Startable):
    """Started by entering it; leaving it ends workers, coordinator and broker."""

    def __init__(
        self,
        folder: Path,
        source_root: Path,
        groups: Sequence[WorkerGroup],
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Describe it; `variables` are added to the environment of every process."""
        self.folder, self._groups = folder, groups
        self.stores = StoreSettings(
            source_url=f"file://{source_root}", work_url=f"file://{folder}/work", output_url=f"file://{folder}/output"
        )
        self._variables = dict(variables or {})
        self.broker = PrivateBroker(folder / "broker")
        self.processes = Processes(folder / "logs")
        self.coordinator_pid = 0
        self.worker_pids: list[int] = []

    @property
    def output(self) -> Path:
        """The root of the output store."""
        return self.folder / "output"

    def start(self) -> None:
        """Start everything and wait until all of it says that it is ready."""
        for name in ("work", "output"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.broker.start()
        self._coordinator_port, health_port, *ports = free_ports(2 + replica_count(self._groups))
        plans = (coordinator_plan(self._coordinator_port, health_port), *worker_plans(self._groups, ports))
        pids = [self._start(plan) for plan in plans]
        self.coordinator_pid, self.worker_pids = pids[0], pids[1:]
        for plan in plans:
            self.processes.wait_for(plan.name, lambda port=plan.port: says_ready(port), START_S)  # type: ignore[misc]
        # A coordinator is ready as a stand-by, too; it takes batches once it leads.
        leads = partial(consumers, self.broker.amqp_url, BATCHES)
        self.processes.wait_for("the coordinator's lead", lambda: leads() > 0, START_S)

    def client(self) -> Client:
        """A user's connection."""
        return Client(self.broker.amqp_url)

    def get(self, path: str) -> bytes:
        """What the coordinator's HTTP interface answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self._coordinator_port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != http.HTTPStatus.OK:
            raise SystemExit(f"the coordinator answers {answer.status} to {path}")
        return body

    def workers(self) -> dict[str, list[int]]:
        """The processes of the workers of each group, by the name of the group."""
        found: dict[str, list[int]] = {}
        names = [group.name for group in self._groups for _ in range(group.replicas)]
        for name, pid in zip(names, self.worker_pids, strict=True):
            found.setdefault(name, []).append(pid)
        return found

    def usage(self) -> Usage:
        """CPU seconds so far, by part."""
        return usage_of(self.hops())

    def hops(self) -> dict[str, float]:
        """CPU seconds so far, group by group. A worker's process is its parent; everything below it computes."""
        stats = proc.all_stats()

        def tree_s(roots: Sequence[int]) -> float:
            return sum(stat.cpu_s for stat in proc.descendants(stats, roots))

        coordinator_s = tree_s([self.coordinator_pid]) if self.coordinator_pid else 0.0
        found = {"broker": tree_s(self.broker.pids), "coordinator": coordinator_s}
        for name, pids in self.workers().items():
            alone_s = sum(stat.cpu_s for stat in stats if stat.pid in set(pids))
            found |= {f"{name} {PARENT}": alone_s, f"{name} {CHILD}": tree_s(pids) - alone_s}
        return found

    def stop(self) -> None:
        """End all of it; workers and coordinator first, so that they can hand back."""
        self.processes.close()
        self.broker.stop()

    def _start(self, plan: ProcessPlan) -> int:
        shared = to_env(BrokerSettings(amqp_url=self.broker.amqp_url), self.stores)
        database = {"MUNIFLOW_DATABASE_URL": f"sqlite:///{self.folder / 'ledger.db'}", "MUNIFLOW_CHILDREN": "1"}
        env = {**shared, **database, **self._variables, **plan.variables}
        return self.processes.start(plan.name, plan.command, env).pid


def usage_of(hops: Mapping[str, float]) -> Usage:
    """CPU seconds by part, of what `Cluster.hops` says."""
    parents_s, children_s = (
        sum(spent_s for name, spent_s in hops.items() if name.endswith(f" {end}")) for end in (PARENT, CHILD)
    )
    return Usage(hops["broker"], hops["coordinator"], parents_s, children_s)


def batch_name(what: str) -> str:
    """A batch id that was never used before."""
    return f"{what}-{time.time_ns()}"
