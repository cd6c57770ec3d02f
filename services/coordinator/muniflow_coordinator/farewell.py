"""Ends what workers of the build before needed of the broker; it goes with `muniflow.model.earlier`."""

import logging
from collections.abc import Sequence

from muniflow.errors import Unavailable
from muniflow.runtime.executor import Repeater
from muniflow.runtime.settings import BrokerSettings
from muniflow.transport.earlier import in_use, remove

log = logging.getLogger(__name__)

PAUSE_S = 5.0
EMPTY_LOOKS = 2
"""A task that has just left a queue may not have arrived where it goes: so often in a row all must be empty."""


class Farewell:
    """Waits until the queues of the build before are empty, then removes them and the old bindings, once."""

    def __init__(self, broker: BrokerSettings, operations: Sequence[str], repeater: Repeater) -> None:
        """Look by `repeater`, once started."""
        self._broker = broker
        self._operations = operations
        self._repeater = repeater
        self._empty = 0
        self._told: object = None

    def start(self) -> None:
        """Begin to look."""
        self._repeater.start(self.turn)

    def stop(self) -> None:
        """Stop looking."""
        self._repeater.stop()

    def turn(self) -> float | None:
        """Look once; returns the pause until the next look, in seconds, or `None` when there is nothing more to do."""
        try:
            used = in_use(self._broker, self._operations)
            self._empty = 0 if used else self._empty + 1
            if self._empty == EMPTY_LOOKS:
                remove(self._broker, self._operations)
                return None
            self._tell(", ".join(used))
        except Unavailable as error:
            self._empty = 0
            self._tell(str(error))
        return PAUSE_S

    def _tell(self, why: str) -> None:
        if why and why != self._told:
            log.info("the exchanges of the build before are not removed yet: %s", why)
        self._told = why
