"""Reads the depths of queues from RabbitMQ."""

from collections.abc import Mapping, Sequence

from muniflow.runtime.settings import BrokerSettings
from muniflow.transport.admin import queue_depths, queue_metrics
from muniflow_coordinator.api.stages import QueueDepth, ReadDepths


def depth_reader(broker: BrokerSettings, metrics_url: str | None) -> ReadDepths:
    """Return a reader by RabbitMQ's metrics, which count unacked messages, too; without their URL, one by AMQP."""

    def from_metrics(queues: Sequence[str]) -> Mapping[str, QueueDepth]:
        found = queue_metrics(metrics_url or "")
        return {
            name: QueueDepth(found[name].ready, found[name].unacked, found[name].consumers)
            for name in queues
            if name in found
        }

    def from_amqp(queues: Sequence[str]) -> Mapping[str, QueueDepth]:
        found = queue_depths(broker, queues)
        return {name: QueueDepth(depth.ready, None, depth.consumers) for name, depth in found.items()}

    return from_metrics if metrics_url else from_amqp
