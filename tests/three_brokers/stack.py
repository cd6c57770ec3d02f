"""A whole stack on a cluster of three brokers, and what happens to such a cluster."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.chaos.harness import Harness
from tests.chaos.truth import GuaranteeReport
from tests.support.inside_broker import TOO_LITTLE_MEMORY
from tests.support.waiting import eventually
from tests.three_brokers.cluster import (
    HAS_KHEPRI,
    MEMORY_LIMIT,
    NODES,
    SEES,
    START_LIMIT_S,
    TICK_S,
    Cluster,
    Member,
    cluster,
)
from tests.three_brokers.network import CLIENTS

from muniflow.runtime.settings import BrokerSettings

Kind = Literal[
    "kill", "kill leaders", "kill two", "kill all", "minority", "one way", "apart", "clients", "memory", "move", "roll"
]
WINDOW_IMAGES = 8
VARIABLES = {
    "MUNIFLOW_WINDOW_IMAGES": str(WINDOW_IMAGES),
    "MUNIFLOW_GROUP_TASKS": "4",
    "MUNIFLOW_HEARTBEAT_S": "5",
    "MUNIFLOW_CONNECT_TIMEOUT_S": "5",
    "MUNIFLOW_EARLIER_BUILD": "false",
}
HOLD_S = 1.5
"""How long a fault lasts that nothing ends: an alarm, no majority."""
MEMORY_SHARE = "0.6"


@dataclass
class ClusterStack:
    """The stack and its cluster."""

    harness: Harness
    cluster: Cluster
    upgrade: Path | None = None
    """The start script of the RabbitMQ that a rolling restart changes to."""
    pauses_s: dict[Kind, list[float]] = field(default_factory=dict)
    """The longest time without a settled image during each fault and after it, where a batch ran."""
    guarantees: GuaranteeReport = field(default_factory=GuaranteeReport)
    """What a round came to."""

    def cut(self, kind: Kind, dice: random.Random) -> None:
        """One fault and its end; returns when all nodes are one cluster again."""
        self.work()
        _FAULTS[kind](self, kind, dice)
        self.cluster.until_whole()

    def flow(self, kind: Kind) -> None:
        """Wait until work has gone on by a window; the longest pause meanwhile is remembered."""
        began_s = time.monotonic()
        before = last = self.harness.settled_images()
        longest_s, changed_s = 0.0, began_s
        running = not self.harness.all_ended()

        def gone_on() -> bool:
            nonlocal last, changed_s, longest_s
            now, now_s = self.harness.settled_images(), time.monotonic()
            longest_s = max(longest_s, now_s - changed_s)
            if now != last:
                last, changed_s = now, now_s
            return now >= before + WINDOW_IMAGES or self.harness.all_ended()

        self.harness.until(gone_on, f"work goes on: {kind}", START_LIMIT_S)
        if running:
            self.pauses_s.setdefault(kind, []).append(longest_s)

    def work(self) -> None:
        """Have a batch that runs. All nodes are there: a publisher at one without the others waits for them."""
        if self.harness.all_ended():
            self.harness.submit_again()


def _kill(stack: ClusterStack, kind: Kind, dice: random.Random) -> None:
    """SIGKILL one node, which comes back when the others have gone on without it."""
    chosen = stack.cluster.member(dice.randint(1, NODES))
    if kind == "kill leaders":
        stack.cluster.lead(chosen.number)
    chosen.kill()
    stack.flow(kind)
    chosen.start()


def _kill_several(stack: ClusterStack, kind: Kind, dice: random.Random) -> None:
    """Two nodes or all: nothing is confirmed until most are back."""
    members = dice.sample(stack.cluster.members, 2 if kind == "kill two" else NODES)
    for member in members:
        member.kill()
    stack.cluster.each(Member.start, members)
    stack.flow(kind)


def _minority(stack: ClusterStack, kind: Kind, dice: random.Random) -> None:
    """One node hears nobody and nobody hears it; clients still do, until it pauses by itself."""
    chosen = dice.randint(1, NODES)
    if dice.random() < 0.5:
        stack.cluster.lead(chosen)
    stack.cluster.network.separate(chosen, *stack.cluster.others(chosen))
    stack.flow(kind)
    if dice.random() < 0.5:
        _until_paused(stack.cluster.member(chosen))
    stack.cluster.network.heal()


def _one_way(stack: ClusterStack, kind: Kind, dice: random.Random) -> None:
    """One node does not hear another; the third hears both. RabbitMQ may pause all of them until that is over."""
    deaf, other = dice.sample(stack.cluster.network.numbers, 2)
    stack.cluster.network.deafen(deaf, other)
    if dice.random() < 0.5:
        _until_apart(stack.cluster.member(deaf), stack.cluster.member(other))
    stack.cluster.network.heal()
    stack.flow(kind)


def _apart(stack: ClusterStack, kind: Kind, dice: random.Random) -> None:
    """Each node by itself: there is no majority."""
    for number in stack.cluster.network.numbers:
        stack.cluster.network.separate(number, *stack.cluster.others(number))
    if dice.random() < 0.5:
        stack.cluster.each(_until_paused)
    else:
        time.sleep(HOLD_S)  # no condition: nothing happens
    stack.cluster.network.heal()
    stack.flow(kind)


def _clients(stack: ClusterStack, kind: Kind, dice: random.Random) -> None:
    """No client reaches one node, which is healthy."""
    stack.cluster.network.deafen(dice.randint(1, NODES), CLIENTS)
    stack.flow(kind)
    stack.cluster.network.heal()


def _memory(stack: ClusterStack, kind: Kind, dice: random.Random) -> None:
    """One node is low on memory: all nodes block publishers."""
    chosen = stack.cluster.member(dice.randint(1, NODES))
    chosen.evaluate(MEMORY_LIMIT.format(TOO_LITTLE_MEMORY))
    time.sleep(HOLD_S)  # no condition: nothing happens
    chosen.evaluate(MEMORY_LIMIT.format(MEMORY_SHARE))
    stack.flow(kind)


def _move(stack: ClusterStack, kind: Kind, dice: random.Random) -> None:
    """All leaders move to one node and to another, while work goes on."""
    for number in dice.sample(stack.cluster.network.numbers, NODES):
        stack.cluster.lead(number)
    stack.flow(kind)


def _roll(stack: ClusterStack, kind: Kind, dice: random.Random) -> None:
    """Each node stops and starts again, one after the other, as a StatefulSet does it, perhaps with another version."""
    if stack.upgrade is not None:
        stack.cluster.members[0].evaluate("rabbit_feature_flags:enable_all()")
    for member in dice.sample(stack.cluster.members, NODES):
        member.stop()
        member.change_to(stack.upgrade)
        member.start()
        stack.cluster.until_whole()
        stack.flow(kind)
        stack.work()


def _until_paused(member: Member) -> None:
    """It knows that it is alone, and pauses; with Khepri (from RabbitMQ 4.2 on) it runs on and confirms nothing."""
    alone = SEES if member.evaluate(HAS_KHEPRI) == "true" else "case rabbit:is_running() of false -> 0; _ -> 1 end"
    eventually(lambda: member.evaluate(alone) == "0", START_LIMIT_S, "the node pauses")


def _until_apart(*members: Member) -> None:
    """One of them no longer counts on all others."""
    eventually(lambda: not all(member.sees_all() for member in members), START_LIMIT_S, "the partition is seen")


_FAULTS: Mapping[Kind, Callable[[ClusterStack, Kind, random.Random], None]] = {
    "kill": _kill,
    "kill leaders": _kill,
    "kill two": _kill_several,
    "kill all": _kill_several,
    "minority": _minority,
    "one way": _one_way,
    "apart": _apart,
    "clients": _clients,
    "memory": _memory,
    "move": _move,
    "roll": _roll,
}


@contextmanager
def cluster_stack(folder: Path, tick_s: int = TICK_S, upgrade: Path | None = None) -> Iterator[ClusterStack]:
    """A stack that runs on a new cluster, all of whose queues have three members."""
    with cluster(folder, tick_s) as brokers:
        settings = BrokerSettings(amqp_url=brokers.amqp_url)
        with Harness(folder, settings, variables=VARIABLES) as harness:
            harness.until_ready()
            members = brokers.queue_sizes()
            assert members == {NODES}, f"queues have {members} members"
            yield ClusterStack(harness, brokers, upgrade)
