"""What people do with a real broker, at once."""

import secrets

import pytest
from tests.contract.transport_harness import small_topology
from tests.support.waiting import eventually

from muniflow.errors import NotFound, Unavailable
from muniflow.model.topology import DEAD_EXCHANGE, dead_queue
from muniflow.runtime.settings import BrokerSettings
from muniflow.transport import OutgoingMessage
from muniflow.transport.admin import (
    BrowsedMessage,
    Depth,
    QueueMetrics,
    browse,
    delete_queues,
    open_channel,
    publish_once,
    queue_depths,
    queue_metrics,
    republish,
)  # fmt: skip


@pytest.fixture
def topology(broker):
    topology = small_topology(f"admin-{secrets.token_hex(4)}")
    yield topology
    delete_queues(broker, [queue.name for queue in topology.queues])


@pytest.fixture
def queue(topology):
    return topology.queues[0].name


def fill(broker, queue, topology, count):
    for number in range(count):
        publish_once(broker, OutgoingMessage(queue, b"%d" % number, headers={"n": number}), topology)


def bodies(broker, queue):
    """All messages of a queue, oldest first; they are left in it."""
    return [message.body for message in look(broker, queue)]


def look(broker, queue):
    """All messages of a queue, kept."""
    seen = []

    def keep(message, _publish):
        seen.append(message)
        return "keep"

    assert browse(broker, queue, keep) == len(seen)
    return seen


def test_one_message_is_published_into_a_broker_that_had_nothing(broker, topology, queue):
    fill(broker, queue, topology, 1)
    assert queue_depths(broker, [queue, "nowhere", dead_queue(queue)]) == {
        queue: Depth(1, 0), dead_queue(queue): Depth(0, 0),
    }  # fmt: skip


def test_a_message_for_nobody_is_not_found(broker, topology):
    with pytest.raises(NotFound, match=r"no\.such\.queue"):
        publish_once(broker, OutgoingMessage("no.such.queue", b"x"), topology)


def test_a_message_for_an_exchange_that_nobody_declared_is_not_found(broker):
    exchange = f"admin-{secrets.token_hex(4)}"
    with open_channel(broker) as channel, pytest.raises(NotFound, match=exchange):
        republish(channel, OutgoingMessage("any", b"x", exchange))


def test_a_broker_that_is_away_is_unavailable(topology):
    away = BrokerSettings(amqp_url="amqp://guest:guest@127.0.0.1:1/")
    with pytest.raises(Unavailable, match="Connection refused"):
        publish_once(away, OutgoingMessage("x", b"x"), topology)
    with pytest.raises(Unavailable, match="Connection refused"):
        queue_depths(away, ["x"])


def test_browsing_shows_all_in_order_and_changes_nothing(broker, topology, queue):
    fill(broker, queue, topology, 5)
    shown = look(broker, queue)
    assert [(message.body, message.headers["n"], message.queue) for message in shown] == [
        (b"%d" % number, number, queue) for number in range(5)
    ]
    assert all(isinstance(message, BrowsedMessage) and message.message_id for message in shown)
    assert bodies(broker, queue) == [b"0", b"1", b"2", b"3", b"4"]


def test_what_is_removed_is_gone_and_the_rest_keeps_its_order(broker, topology, queue):
    fill(broker, queue, topology, 5)
    browse(broker, queue, lambda message, _publish: "remove" if message.body in {b"1", b"4"} else "keep")
    assert bodies(broker, queue) == [b"0", b"2", b"3"]


def test_a_limit_is_kept(broker, topology, queue):
    fill(broker, queue, topology, 3)
    assert browse(broker, queue, lambda _message, _publish: "remove", limit=2) == 2
    assert bodies(broker, queue) == [b"2"]


def test_a_message_can_be_published_again_before_it_is_removed(broker, topology, queue):
    fill(broker, queue, topology, 2)

    def move(message, publish):
        publish(OutgoingMessage(dead_queue(queue), message.body, exchange=DEAD_EXCHANGE))
        return "remove"

    browse(broker, queue, move)
    assert (bodies(broker, queue), bodies(broker, dead_queue(queue))) == ([], [b"0", b"1"])


def test_a_message_that_cannot_be_published_again_stays(broker, topology, queue):
    fill(broker, queue, topology, 2)

    def misplace(_message, publish):
        publish(OutgoingMessage("nowhere", b""))
        return "remove"

    with pytest.raises(NotFound):
        browse(broker, queue, misplace)
    assert bodies(broker, queue) == [b"0", b"1"]


def test_what_comes_back_while_browsing_is_not_shown_again(broker, topology, queue):
    fill(broker, queue, topology, 2)

    def copy(message, publish):
        publish(OutgoingMessage(queue, message.body))
        return "remove"

    assert browse(broker, queue, copy) == 2
    assert bodies(broker, queue) == [b"0", b"1"]


def test_a_queue_that_is_not_there_is_not_found(broker):
    with pytest.raises(NotFound, match="nowhere"):
        browse(broker, "nowhere", lambda _message, _publish: "keep")


def test_the_metrics_of_a_real_node(private_broker, broker, topology, queue):
    fill(broker, queue, topology, 3)
    with open_channel(broker) as channel:
        channel.basic_get(queue)
        # A queue reports itself once a second.
        empty = QueueMetrics()
        eventually(lambda: queue_metrics(private_broker.metrics_url).get(queue, empty).unacked == 1)
        assert queue_metrics(private_broker.metrics_url)[queue].ready == 2
