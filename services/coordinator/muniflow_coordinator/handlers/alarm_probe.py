"""Detects a broker that blocks publishers (a memory or disk alarm), so that the status of batches can say so.

RabbitMQ tells a connection about an alarm only when it publishes. While workers cannot publish, no image is settled, so
the coordinator has nothing to publish either and would report that all is well.
"""

from dataclasses import dataclass, field

from muniflow.transport.types import OutgoingMessage, Transport
from muniflow_coordinator.runs.runs import Runs

PROBE_S = 2.0
MESSAGE = OutgoingMessage("muniflow.probe", b"", mandatory=False)
"""Has no queue: the broker confirms it and drops it."""


@dataclass(eq=False)
class Probe:
    """Publishes an empty message with each look while batches run."""

    transport: Transport
    runs: Runs
    _waiting: bool = field(init=False, default=False)

    def look(self) -> None:
        """Publish, unless the last message is not confirmed yet."""
        if len(self.runs) and self.transport.connected and not self._waiting:
            self._waiting = True
            self.transport.publish((MESSAGE,), lambda _problem: self._answered())

    def _answered(self) -> None:
        self._waiting = False
