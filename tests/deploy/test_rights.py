"""The chart's AMQP users on a real broker: each can do its work, and nothing else."""

from collections.abc import Callable, Iterator
from functools import partial

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPConnectionError, ChannelClosedByBroker, UnroutableError
from tests.support.chart_broker import Installation, definitions, installed
from tests.support.inside_broker import evaluate

from muniflow.model.messages import Notice
from muniflow.model.topology import (
    AUDIT,
    BATCHES,
    CONTROL,
    COORDINATOR_QUEUES,
    DEAD_EXCHANGE,
    DEAD_LETTER_PATTERN,
    DEAD_LETTER_POLICY,
    DELAY_PREFIX,
    EVENTS,
    EVENTS_EXCHANGE,
    EXCHANGE,
    LOST,
    NOTIFY_EXCHANGE,
    TASKS_EXCHANGE,
    Topology,
    all_delays_s,
    dead_queue,
    delay_exchange,
    exchange_to,
    express_queue,
    gateway_queue,
    origin_of,
    step_queue,
    topology,
    work_queues,
    worker_topology,
)
from muniflow.runtime.loop import new_loop
from muniflow.transport.declare import declare
from muniflow.transport.rabbitmq import RabbitTransport
from muniflow.transport.types import OutgoingMessage
from muniflow_cli.commands.check_broker import check_broker
from muniflow_cli.commands.remedies import Remedies
from muniflow_cli.commands.submit_session import SubmitSession
from muniflow_cli.stack.broker import PrivateBroker

OPERATIONS = ("resize", "split", "blur")
WORKER = "step-resize"


@pytest.fixture(scope="module")
def installation(broker_of_tests, tmp_path_factory) -> Iterator[Installation]:
    node: PrivateBroker | None = broker_of_tests.node
    if node is None:
        pytest.skip("users are made on a private node only, and this broker is somebody's")
    with installed(node, tmp_path_factory.mktemp("definitions")) as found:
        yield found


@pytest.fixture(scope="module")
def declared(installation: Installation) -> Installation:
    with installation.channel("coordinator") as channel:
        declare(channel, topology(OPERATIONS))
    return installation


def test_the_coordinator_declares_everything_and_consumes(declared):
    with declared.channel("coordinator") as channel:
        for queue in (*COORDINATOR_QUEUES, LOST):
            channel.basic_consume(queue, lambda *_: None)
        channel.basic_publish(NOTIFY_EXCHANGE, "batch.done", b"")
        channel.queue_purge(step_queue("resize"))


def test_a_worker_takes_its_tasks_and_publishes_what_follows(declared):
    with declared.channel(WORKER) as channel:
        channel.confirm_delivery()
        for queue in work_queues("resize"):
            channel.basic_consume(queue, lambda *_: None)
        for key in (EVENTS, *work_queues("blur"), dead_queue(step_queue("resize"))):
            channel.basic_publish(exchange_to(key), key, b"", mandatory=True)
        for delay_s in all_delays_s():
            channel.basic_publish(delay_exchange(delay_s), step_queue("resize"), b"", mandatory=True)


def test_a_gateway_hears_notices_and_publishes_batches_and_commands(declared):
    with declared.channel("gateway") as channel:
        channel.confirm_delivery()
        own = gateway_queue("pod-1.1")
        declare(channel, Topology((), (own,)))
        channel.basic_consume(own.name, lambda *_: None)
        for key in (BATCHES, CONTROL):
            channel.basic_publish(EXCHANGE, key, b"{}", mandatory=True)
        channel.queue_delete(own.name)


def test_the_transport_of_a_gateway_connects_and_its_publish_is_confirmed(declared):
    loop, own, problems = new_loop(), gateway_queue("pod-2.1"), []
    transport = RabbitTransport(declared.settings("gateway"), loop, "gateway pod-2.1")
    transport.consume(own.name, 1, lambda _: None)

    def confirmed(problem):
        problems.append(problem)
        transport.stop(loop.stop)

    def connected():
        transport.publish([OutgoingMessage(BATCHES, b"{}")], confirmed)

    transport.start(Topology((), (own,)), connected, problems.append)
    loop.call_later(30, loop.stop)
    loop.start()
    loop.close()
    assert problems == [None]


def test_the_command_line_works_with_the_rights_of_the_coordinator(declared):
    settings = declared.settings("coordinator")
    with SubmitSession(settings) as session:
        message_id = session.submit(b"{}")
        with declared.channel("coordinator") as channel:
            notice = Notice(batch="b", state="running", message_id=message_id)
            channel.basic_publish(NOTIFY_EXCHANGE, "batch.running", notice.to_bytes())
        subscription = session.answer_to(message_id, timeout_s=10)
    assert subscription == notice
    found = {finding.check: finding.level for finding in check_broker(settings, topology(OPERATIONS), Remedies())}
    assert (found["permissions"], found["queues"]) == ("ok", "ok")


def test_a_worker_finds_what_it_needs_without_a_right_to_declare_it(declared):
    with declared.channel(WORKER) as channel:
        declare(channel, worker_topology(["resize"]))


def test_a_client_may_publish_a_batch(declared):
    with declared.channel("client") as channel:
        channel.confirm_delivery()
        channel.basic_publish(EXCHANGE, BATCHES, b"{}", mandatory=True)


@pytest.mark.parametrize(
    ("user", "forbidden"),
    [
        (WORKER, lambda channel: channel.basic_get(step_queue("blur"))),
        (WORKER, lambda channel: channel.basic_get(express_queue("blur"))),
        (WORKER, lambda channel: channel.basic_get(BATCHES)),
        (WORKER, lambda channel: channel.basic_get(EVENTS)),
        (WORKER, lambda channel: channel.queue_delete(step_queue("blur"))),
        (WORKER, lambda channel: channel.queue_purge(EVENTS)),
        (WORKER, lambda channel: channel.queue_declare("muniflow.step.other", durable=True)),
        (WORKER, lambda channel: channel.queue_delete(step_queue("resize"))),
        (WORKER, lambda channel: channel.queue_declare("", exclusive=True)),
        (WORKER, lambda channel: channel.queue_bind(step_queue("resize"), TASKS_EXCHANGE, step_queue("blur"))),
        (WORKER, lambda channel: channel.queue_bind(EVENTS, EVENTS_EXCHANGE, step_queue("blur"))),
        (WORKER, lambda channel: channel.exchange_delete(TASKS_EXCHANGE)),
        (WORKER, lambda channel: channel.exchange_declare(TASKS_EXCHANGE, "direct", durable=True)),
        ("client", lambda channel: channel.exchange_delete(EXCHANGE)),
        ("client", lambda channel: channel.basic_get(BATCHES)),
        ("client", lambda channel: channel.queue_declare("mine")),
        ("client", lambda channel: channel.queue_delete(BATCHES)),
        ("gateway", lambda channel: channel.basic_get(BATCHES)),
        ("gateway", lambda channel: channel.basic_get(step_queue("blur"))),
        ("gateway", lambda channel: channel.queue_purge(CONTROL)),
        ("gateway", lambda channel: channel.queue_delete(BATCHES)),
        ("gateway", lambda channel: channel.queue_declare("muniflow.step.other", durable=True)),
        ("gateway", lambda channel: channel.exchange_declare("muniflow.gateway", passive=False)),
        ("monitor", lambda channel: channel.basic_get(BATCHES)),
        ("coordinator", lambda channel: channel.queue_declare("somebody-else", durable=True)),
    ],
)
def test_nobody_does_what_is_not_theirs(declared, user, forbidden):
    with declared.channel(user) as channel, pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
        forbidden(channel)


@pytest.mark.parametrize(
    ("user", "exchange"),
    [
        (WORKER, NOTIFY_EXCHANGE),
        (WORKER, EXCHANGE),
        (WORKER, DEAD_EXCHANGE),
        (WORKER, ""),
        ("client", TASKS_EXCHANGE),
        ("client", EVENTS_EXCHANGE),
        ("client", ""),
        ("gateway", TASKS_EXCHANGE),
        ("gateway", EVENTS_EXCHANGE),
        ("client", DEAD_EXCHANGE),
        ("gateway", NOTIFY_EXCHANGE),
        ("gateway", DEAD_EXCHANGE),
        ("gateway", delay_exchange(all_delays_s()[0])),
        ("monitor", EXCHANGE),
    ],
)
def test_nobody_publishes_where_they_have_no_business(declared, user, exchange):
    with declared.channel(user) as channel:
        channel.confirm_delivery()
        with pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
            channel.basic_publish(exchange, "anything", b"")


def refused(connection: pika.BlockingConnection, attack: Callable[..., object], *about: str) -> bool:
    """Whether the broker refuses this, or leads a message nowhere."""
    channel = connection.channel()
    channel.confirm_delivery()
    try:
        attack(channel, *about)
    except (ChannelClosedByBroker, UnroutableError):
        return True
    finally:
        if channel.is_open:
            channel.close()
    return False


ATTACKS: dict[str, Callable[[BlockingChannel, str], object]] = {
    "get": lambda channel, queue: channel.basic_get(queue),
    "consume": lambda channel, queue: channel.basic_consume(queue, lambda *_: None),
    "purge": lambda channel, queue: channel.queue_purge(queue),
    "delete": lambda channel, queue: channel.queue_delete(queue),
    "declare": lambda channel, queue: channel.queue_declare(queue, durable=True),
    "bind": lambda channel, queue: channel.queue_bind(queue, TASKS_EXCHANGE, "x"),
    "unbind": lambda channel, queue: channel.queue_unbind(queue, exchange_to(queue), queue),
    "send directly": lambda channel, queue: channel.basic_publish("", queue, b"", mandatory=True),
}


def test_of_all_queues_a_worker_reaches_its_own_two(declared):
    queues = [queue.name for queue in topology(OPERATIONS).queues]
    with declared.connection(WORKER) as connection:
        reached = {
            (name, queue)
            for name, attack in ATTACKS.items()
            for queue in queues
            if not refused(connection, attack, queue)
        }
    assert reached == {(name, queue) for name in ("get", "consume", "purge") for queue in work_queues("resize")}


def test_of_all_exchanges_a_worker_changes_none_and_reaches_tasks_and_events(declared):
    """What it puts there counts only where it is signed, or about its own step (tests/security)."""
    whole = topology(OPERATIONS)
    sent, changed = set(), set()
    with declared.connection(WORKER) as connection:
        for exchange in whole.exchanges:
            attacks: dict[str, Callable[[BlockingChannel], object]] = {
                "delete": partial(BlockingChannel.exchange_delete, exchange=exchange.name),
                "declare": partial(
                    BlockingChannel.exchange_declare, exchange=exchange.name, exchange_type=exchange.kind
                ),
                "lead away": partial(BlockingChannel.exchange_bind, destination=exchange.name, source=TASKS_EXCHANGE),
                "lead in": partial(BlockingChannel.exchange_bind, destination=TASKS_EXCHANGE, source=exchange.name),
            }
            changed |= {(exchange.name, name) for name, attack in attacks.items() if not refused(connection, attack)}
            if not exchange.name.startswith(DELAY_PREFIX):  # what waits there goes to `TASKS_EXCHANGE` afterwards
                publish = partial(BlockingChannel.basic_publish, exchange=exchange.name, body=b"", mandatory=True)
                names = [queue.name for queue in whole.queues]
                sent |= {name for name in names if not refused(connection, partial(publish, routing_key=name))}
    works = {queue for operation in OPERATIONS for queue in work_queues(operation)}
    assert changed == set()
    assert sent == works | {EVENTS} | {dead_queue(step_queue(operation)) for operation in OPERATIONS}


@pytest.mark.usefixtures("declared")
def test_nobody_but_the_monitor_is_let_into_the_management_interface(broker_of_tests):
    """So no policy, no shovel, no user and no `get` of it; the monitor's rights to queues are none."""
    for user in definitions()["users"]:
        found = evaluate(
            broker_of_tests.node,
            f'{{ok, User}} = rabbit_auth_backend_internal:lookup_user(<<"{user["name"]}">>)',
            "internal_user:get_tags(User)",
        )
        assert found == ("[monitoring]" if user["name"] == "monitor" else "[]"), user["name"]


@pytest.mark.parametrize("user", ["client", "gateway"])
def test_what_a_sender_of_batches_publishes_reaches_no_worker_and_settles_nothing(declared, user):
    with declared.channel(user) as channel:
        channel.confirm_delivery()
        queues = {queue.name for queue in topology(OPERATIONS).queues} - {BATCHES, CONTROL, AUDIT}
        for name in queues:
            with pytest.raises(UnroutableError):
                channel.basic_publish(EXCHANGE, name, b"{}", mandatory=True)


def test_dead_letter_queues_and_no_others_are_limited(declared, broker_of_tests):
    [policy] = definitions()["policies"]
    assert (policy["pattern"], policy["definition"]) == (DEAD_LETTER_PATTERN, DEAD_LETTER_POLICY)
    limit, overflow = DEAD_LETTER_POLICY["max-length"], f'"{DEAD_LETTER_POLICY["overflow"]}"'
    asked = 'rabbit_policy:get(<<"max-length">>, Queue), rabbit_policy:get(<<"overflow">>, Queue)'
    for name in (queue.name for queue in topology(OPERATIONS).queues):
        found = evaluate(
            broker_of_tests.node,
            f'{{ok, Queue}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"{declared.vhost}">>, queue, <<"{name}">>))',
            f"{{{asked}}} =:= {{{limit}, <<{overflow}>>}}",
        )
        assert found == str(origin_of(name) is not None).lower(), name


def test_there_is_no_guest_in_the_virtual_host(declared):
    credentials = pika.PlainCredentials("guest", "guest")
    with pytest.raises(AMQPConnectionError):
        pika.BlockingConnection(pika.ConnectionParameters(declared.host, declared.port, declared.vhost, credentials))
