"""Asking RabbitMQ how long its queues are."""

from collections.abc import Mapping, Sequence

from muniflow.runtime.settings import BrokerSettings
from muniflow.transport.admin import queue_depths, queue_metrics
from muniflow_coordinator.api.stages import Depth, ReadDepths


def depth_reader(broker: BrokerSettings, metrics_url: str | None) -> ReadDepths:
    """Read from RabbitMQ's own metrics where their address is known, for they count unacked messages, too."""

    def from_metrics(queues: Sequence[str]) -> Mapping[str, Depth]:
        found = queue_metrics(metrics_url or "")
        return {
            name: Depth(found[name].ready, found[name].unacked, found[name].consumers)
            for name in queues
            if name in found
        }

    def from_amqp(queues: Sequence[str]) -> Mapping[str, Depth]:
        found = queue_depths(broker, queues)
        return {name: Depth(depth.ready, None, depth.consumers) for name, depth in found.items()}

    return from_metrics if metrics_url else from_amqp
