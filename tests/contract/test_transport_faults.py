"""Troubles of a real broker that take their time: silence, alarms that stay, answers that never come."""

import socket
import time
from collections.abc import Callable, Iterator

import pytest
from tests.contract.transport_harness import (
    Peer,
    RabbitHarness,
    rabbit_harness,
    run_for,
    run_until,
    small_topology,
    stop_all,
    work_queue,
)  # fmt: skip
from tests.support.declared import declared
from tests.support.inside_broker import TOO_LITTLE_MEMORY, set_memory_limit
from tests.support.waiting import eventually

from muniflow.errors import Unavailable
from muniflow.model.topology import EXCHANGE, Queue, Topology
from muniflow.runtime.settings import BrokerSettings
from muniflow.transport import OutgoingMessage, PublishProblem, connection, rabbitmq
from muniflow.transport.admin import delete_queues, node_of, open_channel
from muniflow.transport.confirms import REFUSED
from muniflow_cli.commands.check_broker import check_broker
from muniflow_cli.commands.remedies import Remedies
from muniflow_cli.stack.broker import PrivateBroker
from muniflow_cli.stack.ports import free_ports

LOST = PublishProblem("connection lost")
HEARTBEAT_S = 1
"""Less than a setting may be."""
CLOSE_TIMEOUT_S = 1.0
STOP_LIMIT_S = 20.0
"""For a busy machine; where nothing bounds it, it never stops."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A close is given up soon: how long it is waited for is a constant of ours, that it is bounded is proved here."""
    for module in (connection, rabbitmq):
        monkeypatch.setattr(module, "CLOSE_TIMEOUT_S", CLOSE_TIMEOUT_S)


@pytest.fixture
def harness(broker: BrokerSettings) -> Iterator[RabbitHarness]:
    with rabbit_harness(broker) as harness:
        yield harness


@pytest.fixture
def new_peer(harness: RabbitHarness) -> Iterator[Callable[..., Peer]]:
    peers: list[Peer] = []

    def make(**settings: float | str) -> Peer:
        harness.settings = harness.settings.model_copy(update=settings)
        peers.append(Peer(harness, small_topology(harness.name)))
        return peers[-1]

    yield make
    stop_all(harness, peers)


@pytest.fixture
def work(harness: RabbitHarness) -> str:
    return work_queue(harness.name)


@pytest.fixture
def memory_alarm(private_broker: PrivateBroker) -> Iterator[Callable[[], None]]:
    """The alarm is on; calling it ends it."""
    set_memory_limit(private_broker, TOO_LITTLE_MEMORY)

    def end() -> None:
        set_memory_limit(private_broker, "0.6")

    yield end
    end()


def seconds_to_stop(harness: RabbitHarness, peer: Peer) -> float:
    started = time.monotonic()
    stop_all(harness, [peer])
    return time.monotonic() - started


def test_a_publish_whose_confirm_never_comes_is_lost_once_and_before_the_loss(new_peer, harness, work):
    peer = new_peer().ready()
    harness.proxy.swallow("server")
    peer.publish(*[OutgoingMessage(work, b"%d" % number) for number in range(20)])
    run_for(harness, 0.5)
    assert peer.settled == [], "the broker has them, and its answer is swallowed"
    harness.proxy.recover()
    run_until(harness, lambda: peer.story.count("ready") == 2, "ready again")
    assert peer.settled == [LOST]
    assert peer.story == ["ready", "settled", "lost", "ready"]
    peer.consume(work, 100)
    peer.wait_for(20)  # a lost confirm is not a lost message: to publish again makes duplicates


def test_with_several_nodes_the_next_one_is_taken_and_each_reason_is_told_once(new_peer, harness, work, caplog):
    """One node is the broker, two are ports on which nobody listens."""
    away = ",".join(f"127.0.0.1:{port}" for port in free_ports(2))
    peer = new_peer(amqp_url=harness.settings.amqp_url.replace("@127", f"@{away},127")).ready()
    for times in range(2, 5):
        harness.proxy.cut()
        run_until(harness, lambda: peer.story.count("ready") == times, "ready again")  # noqa: B023 - called at once
        assert peer.publish_and_wait(OutgoingMessage(work, b"again")) is None
    told = [
        record for record in caplog.records if record.name == rabbitmq.__name__ and "refused" in record.getMessage()
    ]
    assert len(told) <= 2 * peer.story.count("ready")
    with open_channel(harness.settings) as channel:
        assert node_of(channel.connection).port == harness.proxy.port
    found = check_broker(harness.settings, small_topology(harness.name), Remedies())
    assert [each.level for each in found if "node" in each.check].count("warning") == 2
    assert "ok" in {each.level for each in found if each.check == f"node 127.0.0.1:{harness.proxy.port}"}
    with pytest.raises(Unavailable, match=r"refused.*; .*refused"):
        delete_queues(BrokerSettings(amqp_url=f"amqp://{away}"), [work])


def test_after_a_refusal_messages_go_over_a_new_channel(new_peer, harness, work):
    """A channel of RabbitMQ 3.10 may refuse for ever what another one takes: see `muniflow.transport.publisher`."""
    full = f"{harness.name}.full"
    limits: dict[str, str | int] = {"x-queue-type": "quorum", "x-max-length": 1, "x-overflow": "reject-publish"}
    declared(harness.direct, Topology((), (Queue(full, limits, ((EXCHANGE, full),)),)))
    peer = new_peer().ready()
    peer.consume(work, 100)

    def channel() -> str:
        """The message that arrives names the channel over which it was published."""
        arrived = len(peer.got)
        assert peer.publish_and_wait(OutgoingMessage(work, b"x")) is None
        return str(peer.wait_for(arrived + 1)[-1].message_id).partition(".")[0]

    before = channel()
    while PublishProblem(REFUSED) not in peer.settled:  # such a limit is no exact one
        told = len(peer.settled)
        peer.publish(OutgoingMessage(full, b"x"))
        run_until(harness, lambda: len(peer.settled) > told, "an answer")  # noqa: B023 - called at once
    eventually(lambda: channel() != before, what="a new channel")
    assert peer.story.count("ready") == 1, "what it consumes stays where it is"
    delete_queues(harness.direct, [full])


def test_a_broker_that_falls_silent_is_given_up_within_two_heartbeats_and_some(new_peer, harness, work):
    peer = new_peer(heartbeat_s=HEARTBEAT_S).ready()
    peer.consume(work)
    run_for(harness)
    started = time.monotonic()
    harness.proxy.swallow("server", "client")
    peer.publish(OutgoingMessage(work, b"x"))
    run_until(harness, lambda: bool(peer.lost_reasons), "the silence is noticed", timeout_s=25)
    assert time.monotonic() - started > HEARTBEAT_S
    assert "was silent" in peer.lost_reasons[0]
    assert peer.settled == [LOST]
    harness.proxy.recover()
    run_until(harness, lambda: peer.story.count("ready") == 2, "ready again")
    assert peer.publish_and_wait(OutgoingMessage(work, b"again")) is None


def test_a_broker_that_stays_blocked_is_left_and_taken_up_again(new_peer, harness, work, memory_alarm):
    peer = new_peer(blocked_timeout_s=1.5).ready()
    peer.publish(OutgoingMessage(work, b"held"))
    run_until(harness, lambda: bool(peer.lost_reasons), "given up", timeout_s=20)
    assert "blocked the connection (memory or disk alarm)" in peer.lost_reasons[0]
    assert peer.settled == [LOST]
    memory_alarm()
    run_until(harness, lambda: peer.story.count("ready") == 2, "ready again")
    assert peer.publish_and_wait(OutgoingMessage(work, b"again")) is None
    assert peer.transport.blocked is None


def test_stop_is_bounded_while_blocked(new_peer, harness, work, memory_alarm):
    peer = new_peer().ready()
    peer.publish(OutgoingMessage(work, b"held"))
    run_until(harness, lambda: peer.transport.blocked is not None, "blocked")
    assert seconds_to_stop(harness, peer) < STOP_LIMIT_S
    assert peer.settled == [LOST]
    assert peer.story.count("lost") == 0, "the owner has stopped it itself"
    memory_alarm()


def test_stop_is_bounded_when_the_broker_has_fallen_silent(new_peer, harness):
    peer = new_peer().ready()
    harness.proxy.swallow("server", "client")
    assert seconds_to_stop(harness, peer) < STOP_LIMIT_S


def test_stop_is_bounded_while_connecting_to_something_silent(harness):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"amqp://ann:secret@127.0.0.1:{silent.getsockname()[1]}/"
        harness.settings = harness.settings.model_copy(
            update={"amqp_url": url, "connect_timeout_s": CLOSE_TIMEOUT_S + 3}
        )
        peer = Peer(harness, small_topology(harness.name)).start()
        run_for(harness, 0.5)
        assert not peer.transport.connected
        assert peer.transport.disconnect_reason == "connecting"
        assert seconds_to_stop(harness, peer) < STOP_LIMIT_S
        run_for(harness, 2.0)  # its sockets are closed when the attempt times out


def test_why_it_is_not_connected_is_told_at_any_time(new_peer, harness):
    peer = new_peer()
    assert peer.transport.disconnect_reason == "not started"
    peer.ready()
    assert peer.transport.disconnect_reason is None
    harness.proxy.close()
    run_until(
        harness, lambda: "Connection refused" in (peer.transport.disconnect_reason or ""), "the reason of the attempts"
    )
    stop_all(harness, [peer])
    assert peer.transport.disconnect_reason == "stopped"


def test_an_error_of_the_owner_is_told_and_what_it_held_comes_again(new_peer, harness, work, caplog):
    """pika would cut the connection without a word, and at once again and again."""
    peer = new_peer().ready()
    broken = [True, True]

    def deliver(delivery):
        peer.got.append(delivery)
        if broken:
            broken.pop()
            raise ZeroDivisionError("a bug")
        peer.transport.ack([delivery])

    peer.transport.consume(work, 10, deliver)
    peer.publish(OutgoingMessage(work, b"x"))
    run_until(harness, lambda: len(peer.got) == 3, "the third delivery")
    assert [reason for reason in peer.lost_reasons if "a bug" in reason] == [
        "internal error: ZeroDivisionError: a bug"
    ] * 2
    assert "internal error while a message was handled" in caplog.text
    assert "Traceback" in caplog.text
