"""What muniflow's own queues do on a real broker, and where RabbitMQ's versions differ."""

import re
import time
import urllib.request
from dataclasses import replace
from typing import Any, Literal

import pytest
from pika import BasicProperties
from pika.exceptions import ChannelClosedByBroker
from tests.contract.transport_harness import Peer, rabbit_harness, run_for, run_until, stop_all
from tests.support.dead_letter_limit import dead_letter_limit, fill
from tests.support.inside_broker import TOO_LITTLE_MEMORY, evaluate
from tests.support.waiting import eventually

from muniflow.errors import Invalid
from muniflow.model.topology import (
    CONSUMER_TIMEOUT_MS,
    DELIVERY_LIMIT,
    LOST,
    TASKS_EXCHANGE,
    Topology,
    dead_queue,
    topology,
    work_queues,
)
from muniflow.runtime.settings import BrokerSettings
from muniflow.transport import OutgoingMessage
from muniflow.transport.admin import BrowsedMessage, browse, open_channel, publish_once, queue_depths, queue_metrics
from muniflow.transport.types import MAX_MESSAGE_BYTES, PublishProblem
from muniflow_cli.commands.check_broker import alarm_findings, check_broker
from muniflow_cli.commands.findings import worst
from muniflow_cli.commands.remedies import Remedies
from muniflow_cli.stack.broker import PrivateBroker

TOPOLOGY = topology(["blur"])
WORK, EXPRESS = work_queues("blur")
NAMES = [queue.name for queue in TOPOLOGY.queues]
OVER_AND_OVER = DELIVERY_LIMIT + 10
HAND_BACK_IS_FREE = (4, 3)
"""From this version on, `basic.nack` does not count towards the delivery limit."""
SMALL_MESSAGES = (4, 0)
"""From this version on, RabbitMQ refuses messages over 16 MiB; before, over 128 MiB."""
KNOWS_HOLDING = (3, 12)
"""From this version on, a queue may say how long its consumers hold a message (`x-consumer-timeout`)."""
TASKS_GIVEN_UP = 5
LISTS_DEPRECATED = (3, 13)
IGNORES_X_DEATH = (4, 0)
"""From this version on, an `x-death` header that a client writes does not count."""
TOO_LARGE = b"x" * (MAX_MESSAGE_BYTES + 1)


def to_queue(name: str, body: bytes, **fields: Any) -> OutgoingMessage:
    """A message to one queue, whatever is bound to it."""
    return OutgoingMessage(name, body, "", **fields)


@pytest.fixture
def version(broker: BrokerSettings) -> tuple[int, int]:
    """The broker's version, as it tells it itself."""
    [finding] = [each for each in check_broker(broker, Topology((), ()), Remedies()) if each.check == "broker"]
    found = re.search(r"RabbitMQ (\d+)\.(\d+)", finding.what)
    assert found, finding
    return int(found[1]), int(found[2])


@pytest.fixture
def task(broker: BrokerSettings) -> None:
    """One message in the work queue of muniflow's own topology."""
    publish_once(broker, to_queue(WORK, b"task", headers={"n": 1}), TOPOLOGY)


def deliver_and_die(settings: BrokerSettings, queue: str) -> bool:
    """Take a message and lose the connection with it; returns whether there was one."""
    with open_channel(settings) as channel:
        return channel.basic_get(queue)[0] is not None


def deliver_and(settle: str, settings: BrokerSettings, times: int) -> int:
    """Take a message and hand it back by `basic.nack` or `basic.reject`; returns how often it was there."""
    count = 0
    with open_channel(settings) as channel:
        for _ in range(times):
            method, _, _ = channel.basic_get(WORK)
            if method is None:
                break
            count += 1
            getattr(channel, settle)(method.delivery_tag, requeue=True)
    return count


def give_up(settings: BrokerSettings, queue: str = WORK) -> None:
    """Take a task and reject it for good."""
    with open_channel(settings) as channel:
        method, _, _ = channel.basic_get(queue)
        assert method is not None
        channel.basic_reject(method.delivery_tag or 0, requeue=False)


def ready(settings: BrokerSettings) -> dict[str, int]:
    """Messages by queue, of those that have any."""
    return {queue: depth.ready for queue, depth in queue_depths(settings, NAMES).items() if depth.ready}


def headers_of(settings: BrokerSettings, queue: str) -> dict[str, object]:
    """The headers of the one message in a queue; it stays there."""
    seen: list[BrowsedMessage] = []

    def keep(message: BrowsedMessage, _publish: object) -> Literal["keep"]:
        seen.append(message)
        return "keep"

    browse(settings, queue, keep)
    [message] = seen
    return message.headers


@pytest.mark.usefixtures("task")
def test_a_task_whose_worker_dies_too_often_is_in_the_dead_queue_and_told_to_the_coordinator(broker):
    times = 0
    while deliver_and_die(broker, WORK):
        times += 1
        assert times <= DELIVERY_LIMIT + 1
        if times <= DELIVERY_LIMIT:
            eventually(lambda: ready(broker).get(WORK) == 1)
    assert times == DELIVERY_LIMIT + 1
    eventually(lambda: ready(broker) == {dead_queue(WORK): 1, LOST: 1})
    for queue in (dead_queue(WORK), LOST):
        headers = headers_of(broker, queue)
        assert headers["n"] == 1
        assert headers["x-first-death-reason"] == "delivery_limit"
        assert headers["x-first-death-queue"] == WORK


@pytest.mark.usefixtures("task")
def test_a_rejected_task_is_in_both_at_once(broker):
    give_up(broker)
    eventually(lambda: ready(broker) == {dead_queue(WORK): 1, LOST: 1})


def test_an_express_task_that_nobody_can_read_ends_among_the_dead_letters_of_its_operation(broker):
    publish_once(broker, to_queue(EXPRESS, b"task", headers={"n": 1}), TOPOLOGY)
    give_up(broker, EXPRESS)
    eventually(lambda: ready(broker) == {WORK: 1})
    give_up(broker)
    eventually(lambda: ready(broker) == {dead_queue(WORK): 1, LOST: 1})
    headers = headers_of(broker, LOST)
    assert (headers["n"], headers["x-first-death-reason"]) == (1, "rejected")


def test_express_tasks_that_nobody_takes_go_to_the_normal_queue_in_order(broker):
    """As after a rollback of the workers. The queue has its own arguments, but waits a second and not thirty."""
    express = next(queue for queue in TOPOLOGY.queues if queue.name == EXPRESS)
    brief = replace(express, arguments={**express.arguments, "x-message-ttl": 1000})
    others = tuple(queue for queue in TOPOLOGY.queues if queue.name != EXPRESS)
    for number in range(3):
        message = to_queue(EXPRESS, b"%d" % number, headers={"n": number})
        publish_once(broker, message, Topology(TOPOLOGY.exchanges, (*others, brief)))
    eventually(lambda: ready(broker) == {WORK: 3})
    seen: list[bytes] = []

    def keep(message: BrowsedMessage, _publish: object) -> Literal["keep"]:
        seen.append(message.body)
        return "keep"

    browse(broker, WORK, keep)
    assert seen == [b"0", b"1", b"2"]


@pytest.mark.usefixtures("task")
def test_handing_back_counts_before_4_3_and_not_after(broker, version):
    times = deliver_and("basic_nack", broker, OVER_AND_OVER)
    if version >= HAND_BACK_IS_FREE:
        assert (times, ready(broker)) == (OVER_AND_OVER, {WORK: 1})
    else:
        assert times == DELIVERY_LIMIT + 1
        eventually(lambda: ready(broker) == {dead_queue(WORK): 1, LOST: 1})


@pytest.mark.usefixtures("task")
def test_a_reject_that_hands_back_counts_on_every_version(broker):
    assert deliver_and("basic_reject", broker, OVER_AND_OVER) == DELIVERY_LIMIT + 1
    eventually(lambda: ready(broker) == {dead_queue(WORK): 1, LOST: 1})


@pytest.mark.usefixtures("task")
def test_dead_letters_can_be_looked_at_as_often_as_one_likes(broker):
    give_up(broker)
    eventually(lambda: ready(broker) == {dead_queue(WORK): 1, LOST: 1})
    for _ in range(OVER_AND_OVER):
        assert headers_of(broker, dead_queue(WORK))["n"] == 1
        assert deliver_and_die(broker, dead_queue(WORK))
        eventually(lambda: ready(broker).get(dead_queue(WORK)) == 1)


def test_a_dead_letter_waits_in_its_queue_until_there_is_a_place_for_it(broker, private_broker):
    # RabbitMQ asks again every three minutes, unless it is told otherwise before the queue is made.
    # And seldom enough: asked while the one queue is back and the other is not yet, it is content with the one.
    set_patience(private_broker, 3000)
    try:
        publish_once(broker, to_queue(WORK, b"first"), TOPOLOGY)
        with open_channel(broker) as channel:
            for queue in (dead_queue(WORK), LOST):
                channel.queue_delete(queue)
        give_up(broker)
        publish_once(broker, to_queue(WORK, b"next"), Topology((), ()))
        assert ready(broker) == {WORK: 1}
        publish_once(broker, to_queue(WORK, b"third"), TOPOLOGY)
        eventually(lambda: ready(broker) == {WORK: 2, dead_queue(WORK): 1, LOST: 1})
    finally:
        set_patience(private_broker, 180_000)


def test_a_dead_letter_queue_that_is_full_refuses_and_loses_nothing(broker, private_broker):
    """The coordinator, which empties it, is away; meanwhile whoever gives a task up keeps it."""
    set_patience(private_broker, 1000)
    try:
        with dead_letter_limit(private_broker, 2):
            publish_once(broker, to_queue(WORK, b"task 0"), TOPOLOGY)
            for number in range(1, TASKS_GIVEN_UP):
                publish_once(broker, to_queue(WORK, b"task %d" % number), Topology((), ()))
            filled = fill(broker, dead_queue(WORK))
            for _ in range(TASKS_GIVEN_UP):
                give_up(broker)
            eventually(lambda: ready(broker)[LOST] == TASKS_GIVEN_UP)
            assert ready(broker)[dead_queue(WORK)] == filled, "it was full before the first of them"
            bodies: set[bytes] = set()
            with open_channel(broker) as channel:
                for method, _, body in channel.consume(dead_queue(WORK), inactivity_timeout=30):
                    assert method is not None, f"only {bodies} came within 30 s"
                    assert body is not None
                    channel.basic_ack(method.delivery_tag or 0)
                    bodies.add(body)
                    if len(bodies) == TASKS_GIVEN_UP + 1:
                        break
            assert bodies == {b"filled", *(b"task %d" % number for number in range(TASKS_GIVEN_UP))}
            eventually(lambda: WORK not in ready(broker))
    finally:
        set_patience(private_broker, 180_000)


def set_patience(node: PrivateBroker, time_ms: int) -> None:
    evaluate(node, f"application:set_env(rabbit, dead_letter_worker_publisher_confirm_timeout, {time_ms})")


def test_a_message_over_16_mib_is_refused_on_every_version_and_harms_no_other(broker):
    with rabbit_harness(broker) as harness:
        peer = Peer(harness, TOPOLOGY).ready()
        peer.publish(to_queue(WORK, b"good"))
        problem = peer.publish_and_wait(to_queue(WORK, b"small"), to_queue(WORK, TOO_LARGE))
        run_until(harness, lambda: len(peer.settled) == 2, "both groups are settled")
        assert isinstance(problem, PublishProblem) or None in peer.settled
        [told] = [each for each in peer.settled if each is not None]
        assert f'"{WORK}" has {len(TOO_LARGE)} bytes, RabbitMQ takes at most {MAX_MESSAGE_BYTES}' in told.reason
        run_for(harness)
        assert (peer.transport.connected, peer.lost_reasons) == (True, [])
        assert ready(broker) == {WORK: 1}
        assert peer.publish_and_wait(to_queue(WORK, TOO_LARGE[:MAX_MESSAGE_BYTES])) is None, "the largest"
        stop_all(harness, [peer])
    with pytest.raises(Invalid, match="too large"):
        publish_once(broker, to_queue(WORK, TOO_LARGE), TOPOLOGY)


@pytest.mark.usefixtures("task")
def test_what_the_broker_itself_says_of_a_large_message(broker, version):
    def publish() -> None:
        with open_channel(broker) as channel:
            channel.basic_publish("", WORK, TOO_LARGE, mandatory=True)

    if version >= SMALL_MESSAGES:
        with pytest.raises(ChannelClosedByBroker, match="larger than"):
            publish()
    else:
        publish()


@pytest.mark.usefixtures("task")
def test_the_metrics_have_the_names_that_we_read(broker, private_broker):
    with open_channel(broker) as channel:
        publish_once(broker, to_queue(WORK, b"second"), TOPOLOGY)
        channel.basic_qos(prefetch_count=1)
        channel.basic_consume(WORK, lambda *_: None)
        eventually(
            lambda: (
                (found := queue_metrics(private_broker.metrics_url).get(WORK)) is not None
                and (found.ready, found.unacked, found.consumers) == (1, 1, 1)
            )
        )
    alarms = metrics_text(private_broker)
    for name in ("memory_used_watermark", "free_disk_space_watermark"):  # 4.3 has no file_descriptor_limit any more
        assert re.search(rf"^rabbitmq_alarms_{name}(\{{.*\}})? 0$", alarms, re.MULTILINE), name


@pytest.mark.parametrize(
    ("on", "off", "alarm"),
    [
        (*(f"vm_memory_monitor:set_vm_memory_high_watermark({limit})" for limit in (TOO_LITTLE_MEMORY, "0.6")),
         "memory_used"),
        (*(f'rabbit_disk_monitor:set_disk_free_limit("{limit}")' for limit in ("1000000GB", "50MB")),
         "free_disk_space"),
    ],
)  # fmt: skip
def test_doctor_sees_an_alarm_in_the_metrics(private_broker, on, off, alarm):
    evaluate(private_broker, on)
    try:
        eventually(lambda: worst(alarm_findings(metrics_text(private_broker), Remedies())) == "error")
        [finding] = alarm_findings(metrics_text(private_broker), Remedies())
        assert alarm in finding.what
    finally:
        evaluate(private_broker, off)
    eventually(lambda: worst(alarm_findings(metrics_text(private_broker), Remedies())) == "ok")


@pytest.mark.usefixtures("task")
def test_nothing_that_we_declare_is_on_the_way_out(private_broker, version):
    if version < LISTS_DEPRECATED:
        pytest.skip("this version has no list of deprecated features")
    used = private_broker.ctl("list_deprecated_features", "--used", "name")
    assert "transient_nonexcl_queues" not in used
    assert "global_qos" not in used


def test_an_x_death_header_of_a_client_does_not_count_from_4_0(broker, version):
    forged: Any = {"queue": WORK, "reason": "rejected", "count": 7, "exchange": TASKS_EXCHANGE, "routing-keys": [WORK]}
    publish_once(broker, to_queue(LOST, b"x"), TOPOLOGY)
    with open_channel(broker) as channel:
        channel.queue_purge(LOST)
        channel.basic_publish(
            TASKS_EXCHANGE, WORK, b"task", BasicProperties(headers={"x-death": [forged]}), mandatory=True
        )
    give_up(broker)
    eventually(lambda: ready(broker) == {dead_queue(WORK): 1, LOST: 1})
    [death, *_] = headers_of(broker, dead_queue(WORK))["x-death"]  # type: ignore[misc]
    assert death["count"] == (1 if version >= IGNORES_X_DEATH else 8)  # type: ignore[has-type]


def test_a_time_to_live_of_a_message_waits_behind_longer_ones(broker):
    """Why each delay has queues of its own: jitter by `expiration` would be none for what comes together."""
    queue = "muniflow.test.expiration"
    with open_channel(broker) as channel:
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
        try:
            for expiration_ms in ("2500", "100"):
                channel.basic_publish("", queue, b"", BasicProperties(expiration=expiration_ms))
            began_s = time.monotonic()
            channel.connection.sleep(1)
            assert channel.queue_declare(queue, passive=True).method.message_count == 2
            eventually(lambda: channel.queue_declare(queue, passive=True).method.message_count == 0)
            assert time.monotonic() - began_s >= 2
        finally:
            channel.queue_delete(queue)


def test_a_worker_may_hold_a_task_longer_than_the_broker_s_own_limit_from_3_12(broker, private_broker, version):
    def set_limits(held_ms, looked_at_ms):
        settings = {"consumer_timeout": held_ms, "channel_tick_interval": looked_at_ms}
        evaluate(private_broker, *(f"application:set_env(rabbit, {name}, {ms})" for name, ms in settings.items()))

    set_limits(1000, 300)
    try:
        with rabbit_harness(broker) as harness:
            peer = Peer(harness, TOPOLOGY).ready()
            peer.consume(WORK)
            assert peer.publish_and_wait(to_queue(WORK, b"task")) is None
            [held] = peer.wait_for(1)
            run_for(harness, 4)
            if version >= KNOWS_HOLDING:
                assert (peer.lost_reasons, peer.got) == ([], [held])
            else:
                assert "timeout" in peer.lost_reasons[0]
                assert int(str(peer.got[-1].headers["x-delivery-count"])) >= 1
            stop_all(harness, [peer])
    finally:
        set_limits(CONSUMER_TIMEOUT_MS, 60_000)


def test_the_node_of_up_takes_back_nothing_for_a_week(private_broker):
    [timeout_ms] = re.findall(r"\d+", evaluate(private_broker, "application:get_env(rabbit, consumer_timeout)"))
    assert int(timeout_ms) == 7 * 24 * 3600 * 1000


@pytest.mark.usefixtures("task")
def test_doctor_is_content_with_what_we_declare(broker):
    findings = {finding.check: finding for finding in check_broker(broker, TOPOLOGY, Remedies())}
    assert findings["broker"].level == "ok", findings["broker"]
    assert findings["queues"].level == "ok"
    assert findings["permissions"].level == "ok"


def metrics_text(node: PrivateBroker) -> str:
    with urllib.request.urlopen(f"{node.metrics_url}/metrics", timeout=5) as answer:  # noqa: S310
        return str(answer.read().decode())
