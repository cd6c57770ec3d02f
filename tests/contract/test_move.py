"""Queues of an earlier build, with other arguments than ours: made anew, with all that is in them."""

from dataclasses import replace

import pytest
from pika import BasicProperties
from tests.support.inside_broker import evaluate

from muniflow.errors import MuniflowError, Unavailable
from muniflow.model.topology import (
    BATCHES,
    DEAD_EXCHANGE,
    EVENTS,
    LOST,
    all_delays_s,
    dead_queue,
    delay_exchange,
    exchange_to,
    express_queue,
    step_queue,
    topology,
)
from muniflow.runtime.settings import BrokerSettings
from muniflow.transport import move
from muniflow.transport.admin import delete_queues, open_channel, queue_depths
from muniflow.transport.connection import user_of
from muniflow.transport.declare import declare
from muniflow_cli.commands.check_broker import check_broker
from muniflow_cli.commands.remedies import Remedies

WORK, DEAD, EXPRESS = step_queue("blur"), dead_queue(step_queue("blur")), express_queue("blur")
DELAY = delay_exchange(max(all_delays_s()))
TOPOLOGY = topology(["blur"])
OTHER: dict[str, str | int] = {"x-delivery-limit": 7}
"""What the earlier build declared otherwise."""
MOVED = {WORK: 40, DEAD: 2, LOST: 2, EXPRESS: 3, BATCHES: 1, EVENTS: 4, DELAY: 5}
WAY_IN = {DEAD: (DEAD_EXCHANGE, DEAD), DELAY: (DELAY, WORK)}
"""Where it is not `exchange_to`: what goes this way to `DEAD` goes to `LOST`, too."""


@pytest.fixture
def earlier(broker: BrokerSettings) -> BrokerSettings:
    """Queues of the earlier build, with messages."""
    settings = broker.model_copy(update={"new_queue_wait_s": 0.0})
    queues = [
        replace(queue, arguments=queue.arguments | OTHER) if queue.name in MOVED else queue for queue in TOPOLOGY.queues
    ]
    with open_channel(settings) as channel:
        declare(channel, replace(TOPOLOGY, queues=tuple(queues)))
        for queue, count in MOVED.items():
            if queue == LOST:
                continue
            exchange, key = WAY_IN.get(queue, (exchange_to(queue), queue))
            for number in range(count):
                properties = BasicProperties(
                    message_id=f"{queue} {number}", headers={"n": number}, user_id=user_of(settings), delivery_mode=2
                )
                channel.basic_publish(exchange, key, b"%d" % number, properties, mandatory=True)
    return settings


def content(settings: BrokerSettings, queue: str) -> list[str]:
    """What is in a queue, which has the arguments of today; all of it as it was published."""
    found: list[str] = []
    with open_channel(settings) as channel:
        declare(channel, TOPOLOGY)
        while True:
            method, properties, body = channel.basic_get(queue, auto_ack=True)
            if method is None or properties is None or body is None:
                return found
            headers = {name: value for name, value in (properties.headers or {}).items() if name != move.DELIVERIES}
            assert headers == {"n": int(body)}
            assert (properties.user_id, properties.delivery_mode) == (user_of(settings), 2)
            found.append(str(properties.message_id))


def names(queue: str) -> list[str]:
    return [f"{queue} {number}" for number in range(MOVED[queue])]


def test_queues_are_made_anew_with_all_that_is_in_them(earlier):
    assert move.renew(earlier, TOPOLOGY) == MOVED
    assert content(earlier, WORK) == [*names(WORK), *names(DELAY)], "what waited for a time is a task again"
    for queue in (DEAD, EXPRESS, BATCHES, EVENTS):
        assert content(earlier, queue) == names(queue)
    assert content(earlier, LOST) == names(DEAD)
    assert move.renew(earlier, TOPOLOGY) == {}
    assert queue_depths(earlier, [f"muniflow.aside.{queue.removeprefix('muniflow.')}" for queue in MOVED]) == {}


def test_a_move_that_is_broken_off_goes_on(earlier, monkeypatch):
    def broken_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(move, "_move_in", broken_off)
        with pytest.raises(KeyboardInterrupt):
            move.renew(earlier, TOPOLOGY)
    move.renew(earlier, TOPOLOGY)
    assert content(earlier, DEAD) == names(DEAD)
    assert content(earlier, WORK) == [*names(WORK), *names(DELAY)]


def test_a_queue_from_which_somebody_takes_is_left_alone(earlier):
    with open_channel(earlier) as channel:
        channel.basic_qos(prefetch_count=1)
        channel.basic_consume(WORK, lambda *_: None)
        with pytest.raises(MuniflowError, match=rf"somebody takes from {WORK}: stop"):
            move.renew(earlier, TOPOLOGY)
    delete_queues(earlier, MOVED)


def test_a_queue_that_its_node_has_forgotten_is_made_anew(broker, private_broker):
    """A node that is killed within a second of a queue's birth may keep its name and nothing else of it."""
    settings = broker.model_copy(update={"new_queue_wait_s": 0.0})
    with open_channel(settings) as channel:
        declare(channel, TOPOLOGY)
        channel.basic_publish(exchange_to(EVENTS), EVENTS, b"0", mandatory=True)
    name = f"'%2F_{WORK}'"
    evaluate(private_broker, f"ra:force_delete_server(quorum_queues, {{{name}, node()}})")
    with pytest.raises(Unavailable, match="541"), open_channel(settings) as channel:
        channel.basic_consume(WORK, lambda *_: None)
    errors = {each.check: each.what for each in check_broker(settings, TOPOLOGY, Remedies()) if each.level == "error"}
    assert "541" in errors[f"queue {WORK}"]
    assert move.renew(settings, TOPOLOGY) == {WORK: 0}
    with open_channel(settings) as channel:
        channel.basic_publish(exchange_to(WORK), WORK, b"1", mandatory=True)
        for queue, body in ((WORK, b"1"), (EVENTS, b"0")):
            assert channel.basic_get(queue, auto_ack=True)[2] == body
    assert move.renew(settings, TOPOLOGY) == {}
