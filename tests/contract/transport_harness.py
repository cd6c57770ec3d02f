"""What a test of a transport needs: a loop, a broker behind it, a small topology, and peers that use it."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol
from urllib.parse import urlsplit

from tests.contract.tcp_proxy import Proxy
from tests.support import waiting
from tests.support.declared import declared

from muniflow.model.topology import DEAD_EXCHANGE, EXCHANGE, Exchange, Queue, Topology, dead_queue
from muniflow.runtime.loop import Loop, new_loop
from muniflow.runtime.settings import BrokerSettings
from muniflow.testing.memory import MemoryBroker
from muniflow.transport import Delivery, OutgoingMessage, PublishProblem, Transport
from muniflow.transport.admin import delete_queues, open_channel
from muniflow.transport.confirms import REFUSED
from muniflow.transport.rabbitmq import RabbitTransport

WAIT_S = 30.0
QUIET_S = 0.2
"""How long a test watches that something does not happen."""
REFUSALS, REFUSAL_PAUSE_S = 20, 0.25
"""How often a message is published that the broker refuses, and the pause between two times."""
DELIVERY_LIMIT = 2
DELAY_MS = 1000
DURABLE_AFTER_S = 1.5
"""A node that is killed in the first second of a queue forgets it (3.10 to 4.3), and takes 5 s to delete its rest."""


class TransportHarness(Protocol):
    """A broker, as the tests see it."""

    loop: Loop
    name: str
    user: str
    """As whom its transports connect."""

    def transport(self, name: str) -> Transport: ...
    def drop(self) -> None: ...


class MemoryHarness:
    def __init__(self, delay_scale: float = 1.0) -> None:
        self.loop = new_loop()
        self.name = "test"
        self.user = "somebody"
        self.broker = MemoryBroker(self.loop, delay_scale=delay_scale)

    def transport(self, name: str) -> Transport:
        return self.broker.transport(name, user=self.user)

    def drop(self) -> None:
        self.broker.drop_connections("connection cut")


class RabbitHarness:
    def __init__(self, settings: BrokerSettings) -> None:
        self.loop = new_loop()
        self.name = f"test-{secrets.token_hex(4)}"
        parts = urlsplit(settings.amqp_url)
        assert parts.hostname
        self.user = str(parts.username)
        self.proxy = Proxy(parts.hostname, parts.port or 5672)
        place = parts.netloc.rpartition("@")[2]
        url = settings.amqp_url.replace(f"@{place}", f"@127.0.0.1:{self.proxy.port}")
        self.settings = settings.model_copy(update={"amqp_url": url, "reconnect_max_s": 0.5})
        self.direct = settings

    def transport(self, name: str) -> Transport:
        return RabbitTransport(self.settings, self.loop, name)

    def drop(self) -> None:
        self.proxy.cut()


class Peer:
    """A process with a transport; it writes down what it is told."""

    def __init__(self, harness: TransportHarness, topology: Topology, name: str = "peer") -> None:
        self.harness = harness
        self.transport = harness.transport(name)
        self.story: list[str] = []
        self.lost_reasons: list[str] = []
        self.got: list[Delivery] = []
        self.settled: list[PublishProblem | None] = []
        self._topology = topology

    def start(self) -> "Peer":
        self.transport.start(self._topology, lambda: self.story.append("ready"), self._lost)
        return self

    def ready(self) -> "Peer":
        self.start()
        run_until(self.harness, lambda: self.transport.connected, "connected")
        return self

    def consume(self, queue: str, prefetch: int = 10) -> None:
        self.transport.consume(queue, prefetch, self._deliver)

    def publish(self, *messages: OutgoingMessage) -> None:
        self.transport.publish(messages, self._settle)

    def publish_and_wait(self, *messages: OutgoingMessage) -> PublishProblem | None:
        """Publish as every user of a transport does: again, where the broker refuses.

        A quorum queue refuses what comes before its leader is elected: under a second on a machine that does nothing
        else. On a busy one the node may close the connection instead, with an internal error.
        """
        for _ in range(REFUSALS):
            told = len(self.lost_reasons)
            problem = self._publish_once(*messages)
            if problem is None or not (problem.reason == REFUSED or any(map(_is_internal, self.lost_reasons[told:]))):
                break
            run_for(self.harness, REFUSAL_PAUSE_S)
            run_until(self.harness, lambda: self.transport.connected, "connected again")
        return problem

    def _publish_once(self, *messages: OutgoingMessage) -> PublishProblem | None:
        before = len(self.settled)
        self.publish(*messages)
        run_until(self.harness, lambda: len(self.settled) > before, "the publish is settled")
        return self.settled[-1]

    def wait_for(self, count: int) -> list[Delivery]:
        run_until(self.harness, lambda: len(self.got) >= count, f"{count} deliveries (there are {len(self.got)})")
        return self.got

    def bodies(self) -> list[bytes]:
        return [delivery.body for delivery in self.got]

    def _deliver(self, delivery: Delivery) -> None:
        self.story.append("delivery")
        self.got.append(delivery)

    def _settle(self, problem: PublishProblem | None) -> None:
        self.story.append("settled")
        self.settled.append(problem)

    def _lost(self, reason: str) -> None:
        self.story.append("lost")
        self.lost_reasons.append(reason)


def _is_internal(reason: str) -> bool:
    return "(541)" in reason


def run_until(harness: TransportHarness, condition: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
    """Run the loop until the condition holds, at most `timeout_s`."""
    waiting.run_until(harness.loop, condition, timeout_s, what)


def run_for(harness: TransportHarness, seconds: float = QUIET_S) -> None:
    """Run the loop for a while, to see that something does not happen."""
    harness.loop.call_later(seconds, harness.loop.stop)
    harness.loop.start()


def small_topology(name: str) -> Topology:
    """A work queue with its dead-letter queue, a second work queue, and a delay of one second."""
    work = work_queue(name)
    delay = delay_exchange(name)
    return Topology(
        (Exchange(EXCHANGE, "direct"), Exchange(DEAD_EXCHANGE, "direct"), Exchange(f"{name}.notify", "topic"),
         Exchange(delay, "fanout")),
        (
            _queue(work, ((EXCHANGE, work),), {
                "x-delivery-limit": DELIVERY_LIMIT,
                "x-dead-letter-exchange": DEAD_EXCHANGE,
                "x-dead-letter-routing-key": dead_queue(work),
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",
            }),
            _queue(dead_queue(work), ((EXCHANGE, dead_queue(work)), (DEAD_EXCHANGE, dead_queue(work))), {}),
            _queue(other_queue(name), ((EXCHANGE, other_queue(name)), (f"{name}.notify", "batch.#")), {}),
            _queue(delay, ((delay, ""),), {
                "x-message-ttl": DELAY_MS,
                "x-dead-letter-exchange": EXCHANGE,
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",
            }),
        ),
    )  # fmt: skip


def work_queue(name: str) -> str:
    return f"{name}.work"


def other_queue(name: str) -> str:
    return f"{name}.other"


def delay_exchange(name: str) -> str:
    return f"{name}.delay"


def _queue(name: str, bindings: tuple[tuple[str, str], ...], arguments: dict[str, str | int]) -> Queue:
    return Queue(name, {"x-queue-type": "quorum", **arguments}, bindings)


def stop_all(harness: TransportHarness, peers: list[Peer]) -> None:
    """Stop every peer and wait for it."""
    stopped: list[Peer] = []
    for peer in peers:
        peer.transport.stop(lambda peer=peer: stopped.append(peer))  # type: ignore[misc]
    run_until(harness, lambda: len(stopped) == len(peers), "every transport has stopped")


@contextmanager
def rabbit_harness(settings: BrokerSettings) -> Iterator[RabbitHarness]:
    harness = RabbitHarness(settings)
    # Tests here count connections and what was settled on them, so they begin after the troubles of new queues.
    declared(settings, small_topology(harness.name), probed=True)
    try:
        yield harness
    finally:
        harness.proxy.close()
        harness.loop.close()
        delete_queues(settings, [queue.name for queue in small_topology(harness.name).queues])
        with open_channel(settings) as channel:
            for kind in ("notify", "delay"):
                channel.exchange_delete(f"{harness.name}.{kind}")
