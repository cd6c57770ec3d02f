"""What people do with a broker, at once and without a loop: depths, metrics, one message, dead letters.

For the command line and for tests; a service uses a `Transport`.
"""

import contextlib
import re
import secrets
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from pika import BasicProperties, BlockingConnection, DeliveryMode, URLParameters
from pika.adapters.blocking_connection import BlockingChannel
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPChannelError, AMQPError, ChannelClosedByBroker, NackError, UnroutableError

from muniflow.errors import Fault, Invalid, NotFound, Unavailable
from muniflow.model.topology import Topology
from muniflow.runtime.settings import BrokerSettings
from muniflow.transport.connection import NOT_FOUND, describe, nodes_of
from muniflow.transport.declare import declare
from muniflow.transport.types import OutgoingMessage, size_problem

METRICS = "/metrics/detailed?family=queue_coarse_metrics&family=queue_consumer_count"
METRICS_TIMEOUT_S = 5.0
MAX_METRICS_BYTES = 32 * 2**20
METRIC_LINE = re.compile(r'(?P<name>\w+)\{[^}]*\bqueue="(?P<queue>(?:[^"\\]|\\.)*)"[^}]*\} (?P<value>\S+)')
METRIC_FIELDS = {
    "rabbitmq_detailed_queue_messages_ready": "ready",
    "rabbitmq_detailed_queue_messages_unacked": "unacked",
    "rabbitmq_detailed_queue_consumers": "consumers",
}
HEARTBEAT_S = 10
"""A broker that falls silent while a command talks to it is given up after 15 to 30 s: pika looks every
`HEARTBEAT_S + 5` seconds. One that does not answer at all is given up after `connect_timeout_s`."""


@dataclass(frozen=True)
class Depth:
    """A queue, as AMQP tells it."""

    ready: int
    consumers: int


@dataclass(frozen=True)
class QueueMetrics:
    """A queue, as RabbitMQ's metrics tell it."""

    ready: int = 0
    unacked: int = 0
    consumers: int = 0


@dataclass(frozen=True)
class BrowsedMessage:
    """A message that a person looks at; nobody else receives it meanwhile."""

    queue: str
    body: bytes
    headers: dict[str, object] = field(default_factory=dict)
    message_id: str | None = None


Verdict = Literal["keep", "remove"]


def name_of_own() -> str:
    """A new name, for a queue or an exchange of one command.

    Not the broker's `amq.gen-…`: on a cluster, users may only touch what begins with `muniflow.`
    """
    return f"muniflow.cli.{secrets.token_hex(16)}"


@contextlib.contextmanager
def open_channel(settings: BrokerSettings, name: str = "muniflow cli") -> Iterator[BlockingChannel]:
    """A channel for a short while, with confirms, to the first node that answers.

    Raises:
        Unavailable: the broker is away or refuses; also when it goes away inside the block.
    """
    connection, node = _connect(nodes_of(settings, name))
    with broker_errors(node):
        try:
            channel = connection.channel()
            channel.confirm_delivery()
            yield channel
        finally:
            _close(connection)


@contextlib.contextmanager
def broker_errors(parameters: URLParameters) -> Iterator[None]:
    """What pika raises of a broker that is away, falls silent or refuses us, as one error with one exit code.

    Raises:
        Unavailable: with the reason, for a person.
    """
    try:
        yield
    except (UnroutableError, NackError, ChannelClosedByBroker):
        raise  # answers to one request, which whoever asked understands
    except AMQPError as error:
        raise Unavailable("broker", describe(error, parameters)) from None


def node_of(connection: BlockingConnection) -> URLParameters:
    """The node that it leads to. pika's blocking connection has its parameters only on its inner connection."""
    inner: Any = getattr(connection, "_impl")  # noqa: B009 - not in its stubs
    return cast("URLParameters", inner.params)


def _connect(nodes: Sequence[URLParameters]) -> tuple[BlockingConnection, URLParameters]:
    reasons = []
    for parameters in nodes:
        parameters.heartbeat = HEARTBEAT_S
        try:
            return BlockingConnection(parameters), parameters
        # For TLS and host names pika raises the socket's error; a silent broker is no AMQPError either.
        except (AMQPError, AMQPConnectorException, OSError) as error:
            reasons.append(describe(error, parameters))
    raise Unavailable("broker", "; ".join(reasons))


def _close(connection: BlockingConnection) -> None:
    # What was asked is answered, or has failed already: a broker that falls silent now changes neither.
    with contextlib.suppress(AMQPError):
        if connection.is_open:
            connection.close()


def queue_depths(settings: BrokerSettings, queues: Iterable[str]) -> dict[str, Depth]:
    """Ready messages and consumers of each queue that exists; one that does not is left out.

    Raises:
        Unavailable: the broker is away.
    """
    depths = {}
    with open_channel(settings) as first:
        channel = first
        for queue in queues:
            try:
                answer = channel.queue_declare(queue, passive=True).method
            except ChannelClosedByBroker as error:
                if error.reply_code != NOT_FOUND:
                    raise Unavailable("broker", str(error.reply_text)) from None
                channel = first.connection.channel()  # asking for a missing queue closes the channel
            else:
                depths[queue] = Depth(int(answer.message_count or 0), int(answer.consumer_count or 0))
    return depths


def queue_metrics(url: str) -> dict[str, QueueMetrics]:
    """Read RabbitMQ's own metrics, by queue.

    Args:
        url: base URL of the metrics, `http://host:15692`. Where it leads to several pods in turn, ask each.

    Raises:
        Unavailable: nothing answers there, or not with metrics.
    """
    try:
        with urllib.request.urlopen(url.rstrip("/") + METRICS, timeout=METRICS_TIMEOUT_S) as answer:  # noqa: S310 - an operator's URL
            text = answer.read(MAX_METRICS_BYTES).decode(errors="replace")
    except (OSError, ValueError) as error:
        raise Unavailable("RabbitMQ's metrics", f"{url}: {error}") from None
    return parse_metrics(text)


def parse_metrics(*texts: str) -> dict[str, QueueMetrics]:
    """Queues from the metrics of one or more pods. Only a queue's leader reports it, so the largest number is it."""
    found: dict[str, dict[str, int]] = {}
    for text in texts:
        for match in METRIC_LINE.finditer(text):
            if name := METRIC_FIELDS.get(match["name"]):
                values = found.setdefault(match["queue"], {})
                values[name] = max(values.get(name, 0), int(float(match["value"])))
    return {queue: QueueMetrics(**values) for queue, values in sorted(found.items())}


def publish_once(settings: BrokerSettings, message: OutgoingMessage, topology: Topology) -> None:
    """`publish_all` for one message."""
    publish_all(settings, [message], topology)


def publish_all(settings: BrokerSettings, messages: Sequence[OutgoingMessage], topology: Topology) -> None:
    """Declare `topology`, publish messages one by one and wait until the broker has them.

    Raises:
        Invalid: a message is larger than RabbitMQ takes.
        Unavailable: the broker is away, refuses a message, or has other settings for a queue.
        NotFound: no queue takes a message.
    """
    with open_channel(settings) as channel:
        try:
            declare(channel, topology)
            for message in messages:
                republish(channel, message)
        except ChannelClosedByBroker as error:
            raise Unavailable("broker", describe(error, node_of(channel.connection))) from None


def republish(channel: BlockingChannel, message: OutgoingMessage) -> None:
    """Publish on an open channel and wait until the broker has it.

    Raises:
        Invalid: it is larger than RabbitMQ takes.
        Unavailable: the broker refuses the message.
        NotFound: no queue takes it, or nobody has declared the exchange yet; the latter closes the channel.
    """
    if problem := size_problem([message]):
        raise Invalid((Fault("", problem.reason),))
    properties = BasicProperties(
        content_type="application/json",
        delivery_mode=DeliveryMode.Persistent.value,
        headers=dict(message.headers) or None,
        message_id=secrets.token_hex(8),
        user_id=message.user_id,
    )
    try:
        channel.basic_publish(message.exchange, message.routing_key, message.body, properties, message.mandatory)
    except UnroutableError:
        raise NotFound(f"no queue takes messages for {message.routing_key!r}") from None
    except ChannelClosedByBroker as error:
        if error.reply_code != NOT_FOUND:
            raise
        raise NotFound(f"the broker has no exchange {message.exchange!r}: the coordinator declares it") from None
    except NackError:
        raise Unavailable("broker", f"it refused a message for {message.routing_key!r}") from None


def delete_queues(settings: BrokerSettings, queues: Iterable[str]) -> None:
    """Delete queues with all that is in them; missing ones are fine.

    Raises:
        Unavailable: the broker is away.
    """
    with open_channel(settings) as channel:
        for queue in queues:
            channel.queue_delete(queue)


def browse(
    settings: BrokerSettings,
    queue: str,
    decide: Callable[[BrowsedMessage, Callable[[OutgoingMessage], None]], Verdict],
    limit: int | None = None,
) -> int:
    """Show each message that is in `queue` now to `decide`, oldest first; keep or remove it as that decides.

    All of them are held until the end and what is kept then goes back to its place. A message is removed only after
    `decide` has returned, so one that is published again (`decide` gets a function for it that waits for the confirm)
    is never lost: at worst, after a crash, it is there twice. An error in `decide` keeps the message and ends.

    Returns:
        How many were shown.

    Raises:
        Unavailable: the broker is away; everything that was not removed is still in the queue.
        NotFound: there is no such queue.
    """
    shown = 0
    try:
        with open_channel(settings) as channel:
            waiting = int(channel.queue_declare(queue, passive=True).method.message_count or 0)
            count = waiting if limit is None else min(waiting, limit)
            try:
                for _ in range(count):  # never more: what comes back or comes in meanwhile is not shown
                    method, properties, body = channel.basic_get(queue)
                    if method is None or properties is None or body is None:
                        break
                    shown += 1
                    message = BrowsedMessage(queue, body, dict(properties.headers or {}), properties.message_id)
                    if decide(message, lambda outgoing: republish(channel, outgoing)) == "remove":
                        channel.basic_ack(method.delivery_tag or 0)
            finally:
                if channel.is_open:
                    channel.basic_nack(0, multiple=True, requeue=True)  # 0: every message that is still held
    except ChannelClosedByBroker as error:
        if error.reply_code == NOT_FOUND:
            raise NotFound(f"there is no queue {queue!r}") from None
        raise Unavailable("broker", str(error.reply_text)) from None
    except AMQPChannelError as error:
        raise Unavailable("broker", str(error)) from None
    return shown
