"""Three private RabbitMQ nodes that are one cluster, set up as the chart sets up the operator's."""

import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.support.inside_broker import evaluate
from tests.support.namespaces import inside
from tests.support.waiting import eventually
from tests.three_brokers.network import Network, address, network

from muniflow.errors import MuniflowError
from muniflow_cli.stack.broker import PrivateBroker
from muniflow_cli.stack.node import Node
from muniflow_cli.stack.node_files import NodeIdentity
from muniflow_cli.stack.plan import ProcessPlan

NODES = 3
START_LIMIT_S = 300.0
"""A node starts in 6 s; on a machine with a load of 20 in more than 90."""
TICK_S = 8
"""`net_ticktime`: after so long, and a quarter more, a node counts another as gone. RabbitMQ's own is 60."""
AMQP, DISTRIBUTION, EPMD, METRICS = 5672, 25672, 4369, 15692
"""Each node has a network of its own."""
LEADERS = (
    "[catch ra:transfer_leadership(Pid, {element(1, Pid), 'NODE'}) || Q <- rabbit_amqqueue:list(), "
    "Pid <- [amqqueue:get_pid(Q)], is_tuple(Pid)]"
)
# RabbitMQ 4.3 keeps a map of them, the others a list.
SIZES = (
    "lists:usort([case maps:get(nodes, amqqueue:get_type_state(Q), []) of N when is_map(N) -> {map_size(N)}; "
    "N -> {length(N)} end || Q <- rabbit_amqqueue:list()])"
)
SEES = "length(nodes())"
HAS_KHEPRI = "case catch rabbit_khepri:is_enabled() of true -> true; _ -> false end"
MEMORY_LIMIT = "vm_memory_monitor:set_vm_memory_high_watermark({})"


def node_name(number: int) -> str:
    return f"muniflow@n{number}"


@dataclass(frozen=True)
class ClusterNode(Node):
    """A private node that others reach, too."""

    number: int = 0
    tick_s: int = TICK_S

    def write_files(self) -> None:
        super().write_files()
        file = self.home / "rabbitmq.conf"
        known = "".join(
            f"cluster_formation.classic_config.nodes.{number} = {node_name(number)}\n" for number in range(1, NODES + 1)
        )
        file.write_text(
            file.read_text().replace("loopback_users.muniflow = true", "loopback_users.muniflow = false")
            + f"listeners.tcp.2 = {address(self.number)}:{AMQP}\n"
            + "cluster_formation.peer_discovery_backend = classic_config\n"
            + known
            + f"net_ticktime = {self.tick_s}\n"
            + "cluster_partition_handling = pause_minority\n"
            + "queue_leader_locator = balanced\n"
        )
        hosts = "".join(f'{{host, {_tuple(address(number))}, ["n{number}"]}}.\n' for number in range(1, NODES + 1))
        (self.home / "inetrc").write_text(
            f'{hosts}{{host, {{127,0,0,1}}, ["localhost"]}}.\n{{lookup, [file, native]}}.\n'
        )

    def _epmd_plans(self) -> tuple[ProcessPlan, ...]:
        return tuple(
            replace(plan, command=(plan.command[0], "-address", address(self.number), *plan.command[3:]))
            for plan in super()._epmd_plans()
        )

    def _variables(self) -> dict[str, str]:
        own = _tuple(address(self.number))
        return {
            **{name: value.replace("{127,0,0,1}", own) for name, value in super()._variables().items()},
            "ERL_EPMD_ADDRESS": address(self.number),
            "ERL_INETRC": str(self.home / "inetrc"),
        }


class Member(PrivateBroker):
    """One node of the cluster; what it does, it does in its own network."""

    def __init__(self, home: Path, number: int, place: Path, tick_s: int) -> None:
        super().__init__(home, start_timeout_s=START_LIMIT_S)
        self.number = number
        self._place = place
        self._tick_s = tick_s

    @property
    def node(self) -> Node:
        return ClusterNode(
            self.home, self.identity, self._server, self._schedulers, self._start_timeout_s, self.number, self._tick_s
        )

    def start(self) -> None:
        with inside(self._place):
            super().start()

    def change_to(self, server: Path | None) -> None:
        """Start with another RabbitMQ from now on, if one is given."""
        self._server = server or self._server

    def sees_all(self) -> bool:
        """Whether it runs and knows all others to run."""
        try:
            return self.evaluate("rabbit:is_running()") == "true" and self.evaluate(SEES) == str(NODES - 1)
        except (MuniflowError, AssertionError):  # it does not even answer
            return False

    def evaluate(self, *expressions: str) -> str:
        with inside(self._place):
            return evaluate(self, *expressions, address=f"{address(self.number)}:{DISTRIBUTION}")


@dataclass(frozen=True)
class Cluster:
    """Its nodes, and the network between them."""

    network: Network
    members: tuple[Member, ...]

    @property
    def amqp_url(self) -> str:
        """Of all nodes."""
        hosts = ",".join(f"{address(member.number)}:{AMQP}" for member in self.members)
        return f"amqp://muniflow:{self.members[0].identity.password}@{hosts}/%2F"

    def member(self, number: int) -> Member:
        return self.members[number - 1]

    def others(self, number: int) -> tuple[int, ...]:
        return tuple(other for other in self.network.numbers if other != number)

    def each(self, do: Callable[[Member], None], members: Iterable[Member] | None = None) -> None:
        """All at once."""
        with ThreadPoolExecutor(NODES) as pool:
            list(pool.map(do, self.members if members is None else members))

    def lead(self, number: int) -> None:
        """Move the leader of each queue to this node."""
        self.member(number).evaluate(LEADERS.replace("NODE", node_name(number)), "ok")

    def until_whole(self) -> None:
        """Every node runs and sees all others."""
        for member in self.members:
            eventually(member.sees_all, START_LIMIT_S, f"node {member.number} sees all")

    def queue_sizes(self) -> set[int]:
        """The numbers of members that queues have."""
        return set(map(int, re.findall(r"\d+", self.members[0].evaluate(SIZES))))


def _tuple(place: str) -> str:
    """An address, as Erlang writes it."""
    return "{" + place.replace(".", ",") + "}"


@contextmanager
def cluster(folder: Path, tick_s: int = TICK_S) -> Iterator[Cluster]:
    """A cluster that runs; this thread is in the network of its clients."""
    password, cookie = secrets.token_hex(16), secrets.token_hex(16).upper()
    with network(NODES) as net:
        members = []
        for number in net.numbers:
            home = folder / f"node{number}"
            home.mkdir(mode=0o700)
            identity = NodeIdentity(AMQP, DISTRIBUTION, EPMD, METRICS, node_name(number), password, cookie)
            (home / "node.json").write_text(json.dumps(asdict(identity)))
            members.append(Member(home, number, net.place(number), tick_s))
        made = Cluster(net, tuple(members))
        try:
            made.each(Member.start)
            made.until_whole()
            yield made
        finally:
            for member in members:
                member.kill()
