"""The lines between the broker and its clients."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.simulation.pipeline.simulation import Process, Work

from muniflow.testing.memory_queues import QueuedMessage


@dataclass(eq=False)
class Consumer:
    """What one line takes from one queue."""

    line: "Line"
    queue: str
    prefetch: int
    number: int
    unsettled: dict[int, QueuedMessage] = field(default_factory=dict)
    cancelled: bool = False


@dataclass(eq=False)
class Line:
    """A connection: what is sent into one of its ends comes out of the other in the same order, until it is cut."""

    process: Process
    on_lost: Callable[[str], None]
    """Of the client; called once, when it learns that the line is cut."""
    on_delivery: Callable[[int, str, int, QueuedMessage], None]
    """`(consumer, queue, tag, message)`, at the client."""
    open_there: bool = True
    """At the broker."""
    open_here: bool = True
    """At the client."""
    there_s: float = 0.0
    here_s: float = 0.0
    disk_s: float = 0.0
    consumers: dict[str, Consumer] = field(default_factory=dict)
    old: list[Consumer] = field(default_factory=list)
    """Cancelled, with deliveries that are not settled."""
    blocked: bool = False
    held: list[Work] = field(default_factory=list)
    """Publishes that wait for the end of an alarm."""
