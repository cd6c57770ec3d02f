"""What `doctor` asks of the broker: its version, what is declared, permissions, alarms, who consumes."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from muniflow.cli.findings import Finding, Level
from muniflow.errors import MuniflowError, Unavailable
from muniflow.settings import BrokerSettings
from muniflow.topology import LOST, Queue, Topology
from muniflow.transport import versions

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

    from muniflow.transport.admin import Depth

NOT_FOUND, REFUSED, DIFFERENT = 404, 403, 406
MANY_DEAD = 1


def check_broker(settings: BrokerSettings, declared: Topology) -> list[Finding]:
    """Everything about the broker. A broker that is away is one finding, and the only one."""
    from muniflow.transport.admin import open_channel, queue_depths

    try:
        with open_channel(settings, "muniflow doctor") as channel:
            findings = [*version_findings(_server_properties(channel)), *_permissions(channel)]
            findings += _declared(channel, declared)
        depths = queue_depths(settings, [queue.name for queue in declared.queues])
    except MuniflowError as error:
        to_do = "start it (`muniflow up` starts a private one), or correct MUNIFLOW_AMQP_URL"
        return [Finding("error", "broker", str(error), to_do)]
    return findings + list(depth_findings(depths))


def version_findings(properties: Mapping[str, Any]) -> list[Finding]:
    """Judge what the broker says of itself, and say what is special about its version."""
    product, version = str(properties.get("product", "?")), str(properties.get("version", "?"))
    judged = versions.judge(product, version)
    finding = Finding(judged.level, "broker", judged.what, judged.to_do)
    if judged.level == "error" or product != "RabbitMQ":
        return [finding]
    return [finding, *(Finding("ok", "broker version", each) for each in versions.differences(version))]


def depth_findings(depths: "Mapping[str, Depth]") -> Iterator[Finding]:
    """Judge who consumes, and what was given up."""
    for name, depth in depths.items():
        work = not name.endswith(".dead") and not name.startswith("muniflow.delay.")
        if name.endswith(".dead") and depth.ready >= MANY_DEAD:
            short = name.removeprefix("muniflow.").removeprefix("step.").removesuffix(".dead")
            yield Finding(
                "warning",
                f"queue {name}",
                f"{depth.ready} dead letters",
                f"see why: muniflow dead list --queue {short}; run them again: muniflow dead replay --queue {short}",
            )
        elif work and depth.consumers == 0:
            who = "coordinator" if ".step." not in name else "worker"
            level: Level = "warning" if depth.ready == 0 or name == LOST else "error"
            yield Finding(level, f"queue {name}", f"no {who} takes from it; {depth.ready} wait", f"start a {who}")


def alarm_findings(text: str) -> list[Finding]:
    """Judge the alarms in RabbitMQ's own metrics."""
    alarms = {
        "rabbitmq_alarms_memory_used_watermark": "give the broker more memory, or raise vm_memory_high_watermark",
        "rabbitmq_alarms_free_disk_space_watermark": "free disk space on the broker's volume",
        "rabbitmq_alarms_file_descriptor_limit": "raise the limit of open files of the broker",
    }
    raised = [
        Finding("error", "alarm", f"{name} is raised: publishers are blocked", to_do)
        for name, to_do in alarms.items()
        if re.search(rf"^{name}(\{{[^}}]*\}})? [1-9]", text, re.MULTILINE)
    ]
    return raised or [Finding("ok", "alarm", "none is raised")]


def _server_properties(channel: "BlockingChannel") -> Mapping[str, Any]:
    # pika's blocking connection keeps what the broker said of itself behind its inner connection only.
    inner: Any = getattr(channel.connection, "_impl", None)
    properties: Mapping[str, Any] = getattr(inner, "server_properties", None) or {}
    return {
        name: value.decode(errors="replace") if isinstance(value, bytes) else value
        for name, value in properties.items()
    }


def _permissions(channel: "BlockingChannel") -> list[Finding]:
    """Declare, write and read, on a queue and an exchange of our own that go with the connection."""
    from pika.exceptions import AMQPChannelError

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
    except AMQPChannelError as error:
        to_do = 'give the user configure, write and read on "muniflow.*": rabbitmqctl set_permissions'
        return [Finding("error", "permissions", str(error), to_do)]
    return [Finding("ok", "permissions", "the user may declare, write and read")]


def _declared(channel: "BlockingChannel", declared: Topology) -> list[Finding]:
    findings = [finding for queue in declared.queues if (finding := _queue_finding(channel, queue))]
    return findings or [Finding("ok", "queues", f"all {len(declared.queues)} are there, with the right arguments")]


def _queue_finding(channel: "BlockingChannel", queue: Queue) -> Finding | None:
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
                return Finding("warning", check, "is not there yet", "the coordinator and the workers declare it")
            case code if code == DIFFERENT:
                to_do = f"empty it, then delete it (rabbitmqctl delete_queue {queue.name}): it is declared anew"
                return Finding("error", check, f"has other arguments: {error.reply_text}", to_do)
            case code if code == REFUSED:
                to_do = 'give the user configure, write and read on "muniflow.*": rabbitmqctl set_permissions'
                return Finding("error", check, str(error.reply_text), to_do)
            case _:
                raise Unavailable("broker", str(error.reply_text)) from None
    return None
