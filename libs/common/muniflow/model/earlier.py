"""What the build before this one has of exchanges and queues otherwise (docs/adr/0048-one-exchange-per-direction.md).

There, all went by `EXCHANGE`. This module and what uses it are removed with the next release.
"""

from collections.abc import Iterable
from dataclasses import replace

from muniflow.model.topology import (
    COORDINATOR_QUEUES,
    EVENTS,
    EVENTS_EXCHANGE,
    EXCHANGE,
    LOST,
    TASKS_EXCHANGE,
    Exchange,
    Instead,
    Queue,
    Topology,
    all_delays_s,
    dead_queue,
    delay_exchange,
    step_queue,
)


def with_earlier(topology: Topology, operations: Iterable[str]) -> Topology:
    """The same topology, to which workers of the build before can publish, too."""
    keys = frozenset(_keys_of_workers(operations))
    queues = (
        replace(queue, bindings=(*queue.bindings, (EXCHANGE, queue.name))) if queue.name in keys else queue
        for queue in topology.queues
    )
    return replace(topology, queues=tuple(queues))


def instead(operations: Iterable[str]) -> Instead:
    """What a worker takes where the coordinator is of the build before: without an express lane."""
    queues = tuple(Queue(step_queue(operation), {}, ()) for operation in sorted(operations))
    delays = {delay_exchange(delay_s): delay_name(delay_s) for delay_s in all_delays_s()}
    return Instead(
        Topology((Exchange(EXCHANGE, "direct"),), queues, awaited=True),
        {TASKS_EXCHANGE: EXCHANGE, EVENTS_EXCHANGE: EXCHANGE, **delays},
    )


def bindings(operations: Iterable[str]) -> tuple[str, ...]:
    """The queues that were bound to `EXCHANGE`, each by its name, and are no more."""
    return (*_keys_of_workers(operations), LOST, *map(dead_queue, COORDINATOR_QUEUES))


def queues(operations: Iterable[str]) -> tuple[str, ...]:
    """The queues that have other names now. What leaves them unsettled goes by `EXCHANGE`."""
    return (*map(delay_name, all_delays_s()), *(f"{step_queue(operation)}.express" for operation in operations))


def delay_name(delay_s: int) -> str:
    """The delay exchange, and its queue."""
    return f"muniflow.delay.{delay_s}s"


def _keys_of_workers(operations: Iterable[str]) -> tuple[str, ...]:
    steps = [step_queue(operation) for operation in sorted(operations)]
    return (EVENTS, *steps, *map(dead_queue, steps))
