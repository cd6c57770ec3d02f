"""Checks of the broker for `doctor`: version, queues, permissions, alarms, consumers."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from muniflow.errors import MuniflowError, Unavailable
from muniflow.model.topology import DELAY_PREFIX, LOST, Queue, Topology, operation_of
from muniflow.runtime.settings import BrokerSettings
from muniflow.transport import versions
from muniflow_cli.commands.findings import Finding, Level
from muniflow_cli.commands.remedies import Remedies

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

    from muniflow.transport.admin import Depth

NOT_FOUND, REFUSED, DIFFERENT = 404, 403, 406
BLOCKED_S = 3.0
"""Limit for the test publish, which a broker with an alarm blocks."""


def check_broker(settings: BrokerSettings, declared: Topology, remedies: Remedies) -> list[Finding]:
    """All checks of the broker. A broker that cannot be reached, at any of its nodes, is the only finding."""
    from muniflow.transport.admin import node_of, open_channel, queue_depths

    # Services wait a day for the end of an alarm; a person who runs a check does not.
    settings = settings.model_copy(update={"blocked_timeout_s": BLOCKED_S})
    try:
        with open_channel(settings, "muniflow doctor") as channel:
            parameters = node_of(channel.connection)
            rights = remedies.permissions(getattr(parameters.credentials, "username", "USER"), parameters.virtual_host)
            findings = version_findings(_server_properties(channel)) + _node_findings(settings, remedies)
            findings += _declared(channel, declared, rights, remedies)
            findings += _permissions(channel, rights)  # the last: an alarm ends the connection in it
        findings += _unusable(settings, declared, remedies)
        depths = queue_depths(settings, [queue.name for queue in declared.queues])
    except MuniflowError as error:
        return [Finding("error", "broker", str(error), remedies.broker_away())]
    return findings + list(depth_findings(depths, remedies))


def _node_findings(settings: BrokerSettings, remedies: Remedies) -> list[Finding]:
    """Each node that the URL names, where it names several: whether it answers, and with which version."""
    from muniflow.transport.admin import node_of, open_channel
    from muniflow.transport.connection import each_node, place_of

    findings = []
    nodes = each_node(settings)
    for node in nodes if len(nodes) > 1 else ():
        try:
            with open_channel(node, "muniflow doctor") as channel:
                check, version = f"node {place_of(node_of(channel.connection))}", _server_properties(channel)["version"]
        except Unavailable as error:
            what = f"{error}; services use the others meanwhile"
            findings.append(Finding("warning", "a node of the broker", what, remedies.broker_away()))
        else:
            findings.append(Finding("ok", check, f"RabbitMQ {version}"))
    return findings


def version_findings(properties: Mapping[str, Any]) -> list[Finding]:
    """Check the broker's version and report what is special about it."""
    product, version = str(properties.get("product", "?")), str(properties.get("version", "?"))
    judged = versions.judge(product, version)
    finding = Finding(judged.level, "broker", judged.what, judged.to_do)
    if judged.level == "error" or product != "RabbitMQ":
        return [finding]
    return [finding, *(Finding("ok", "broker version", each) for each in versions.differences(version))]


def depth_findings(depths: "Mapping[str, Depth]", remedies: Remedies) -> Iterator[Finding]:
    """Check the consumers of each queue; dead letters go to the coordinator, which takes them into its ledger."""
    for name, depth in depths.items():
        if depth.consumers == 0 and not name.startswith(DELAY_PREFIX):
            operation = operation_of(name)
            who = "worker" if operation else "coordinator"
            level: Level = "warning" if depth.ready == 0 or name == LOST else "error"
            what = f"no {who} takes from it; {depth.ready} wait"
            yield Finding(level, f"queue {name}", what, remedies.no_consumer(operation))


def alarm_findings(text: str, remedies: Remedies) -> list[Finding]:
    """Check the alarms in RabbitMQ's own metrics."""
    raised = [
        Finding("error", "alarm", f"{name} is raised: publishers are blocked", to_do)
        for name, to_do in remedies.alarms().items()
        if re.search(rf"^{name}(\{{[^}}]*\}})? [1-9]", text, re.MULTILINE)
    ]
    return raised or [Finding("ok", "alarm", "none is raised")]


def _server_properties(channel: "BlockingChannel") -> Mapping[str, Any]:
    # pika's blocking connection offers the server properties only on its inner connection.
    inner: Any = getattr(channel.connection, "_impl", None)
    properties: Mapping[str, Any] = getattr(inner, "server_properties", None) or {}
    return {
        name: value.decode(errors="replace") if isinstance(value, bytes) else value
        for name, value in properties.items()
    }


def _permissions(channel: "BlockingChannel", rights: str) -> list[Finding]:
    """Declare, write and read, on a temporary queue and exchange that are deleted with the connection."""
    from pika.exceptions import AMQPChannelError, ConnectionBlockedTimeout

    from muniflow.transport.admin import name_of_own

    own = channel.connection.channel()
    name = name_of_own()
    try:
        own.queue_declare(name, exclusive=True)
        own.exchange_declare(name, "direct", auto_delete=True)
        own.queue_bind(name, name, name)
        own.confirm_delivery()
        own.basic_publish(name, name, b"muniflow doctor", mandatory=True)
        own.basic_get(name, auto_ack=True)
    except ConnectionBlockedTimeout:
        return [Finding("error", "permissions", "not tried: the broker takes no messages now", "see the alarm")]
    except AMQPChannelError as error:
        return [Finding("error", "permissions", str(error), rights)]
    return [Finding("ok", "permissions", "the user may declare, write and read")]


def _declared(channel: "BlockingChannel", declared: Topology, rights: str, remedies: Remedies) -> list[Finding]:
    asked = (_queue_finding(channel, queue, rights, remedies) for queue in declared.queues)
    findings = [finding for finding in asked if finding]
    return findings or [Finding("ok", "queues", f"all {len(declared.queues)} are there, with the right arguments")]


def _unusable(settings: BrokerSettings, declared: Topology, remedies: Remedies) -> list[Finding]:
    from muniflow.transport.unusable import unusable

    what = "refuses consumers and messages (541): its node was killed when the queue was new, and nothing was in it yet"
    to_do = remedies.declared_otherwise()
    return [Finding("error", f"queue {queue.name}", what, to_do) for queue in unusable(settings, declared.queues)]


def _queue_finding(channel: "BlockingChannel", queue: Queue, rights: str, remedies: Remedies) -> Finding | None:
    from pika.exceptions import ChannelClosedByBroker

    asking = channel.connection.channel()  # the broker closes a channel whose question it refuses
    check = f"queue {queue.name}"
    try:
        asking.queue_declare(queue.name, passive=True)
        asking.queue_declare(queue.name, durable=True, arguments=dict(queue.arguments))
        asking.close()
    except ChannelClosedByBroker as error:
        match error.reply_code:
            case code if code == NOT_FOUND:
                return Finding("warning", check, "is not there", remedies.not_declared())
            case code if code == DIFFERENT:
                to_do = remedies.declared_otherwise()
                return Finding("error", check, f"has other arguments: {error.reply_text}", to_do)
            case code if code == REFUSED:
                return Finding("error", check, str(error.reply_text), rights)
            case _:
                raise Unavailable("broker", str(error.reply_text)) from None
    return None
