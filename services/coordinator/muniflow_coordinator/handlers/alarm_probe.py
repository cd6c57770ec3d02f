"""Finding out that the broker takes no messages (a memory or disk alarm), for the status of the batches.

RabbitMQ says so to a connection only once that connection publishes. While workers cannot publish no image is settled,
so the coordinator has nothing to publish either, and its users would be told that all is well.
"""

from muniflow.transport.types import OutgoingMessage
from muniflow_coordinator.core import Core

PROBE_S = 2.0
MESSAGE = OutgoingMessage("muniflow.probe", b"", mandatory=False)
"""For no queue: the broker confirms it and keeps nothing."""


class Probe:
    """While batches are worked on, publishes a message for nobody every `PROBE_S` seconds."""

    def __init__(self, core: Core) -> None:
        """Probe the transport of `core`; `start` begins it."""
        self._loop = core.loop
        self._transport = core.transport
        self._runs = core.runs
        self._waiting = False
        self._stopped = False

    def start(self) -> None:
        """Begin."""
        self._loop.call_later(PROBE_S, self._ask)

    def stop(self) -> None:
        """End."""
        self._stopped = True

    def _ask(self) -> None:
        if self._stopped:
            return
        if len(self._runs) and self._transport.connected and not self._waiting:
            self._waiting = True
            self._transport.publish((MESSAGE,), lambda _problem: self._answered())
        self._loop.call_later(PROBE_S, self._ask)

    def _answered(self) -> None:
        self._waiting = False
