"""Events of batches that the ledger does not know: erased of late, or after its loss or the restore of an old copy."""

import logging
from collections import OrderedDict
from collections.abc import Callable

log = logging.getLogger(__name__)

MAX_BATCHES = 20
"""Batches that are named; all events are counted."""


class Strangers:
    """Counts them since the start. May be read from any thread."""

    def __init__(self) -> None:
        """Begin with none."""
        self.events = 0
        self.on_events: Callable[[str], None] = lambda _batch: None
        """Called with the batch of each, in the loop: it may have been erased while a task of it was still done."""
        self._batches: OrderedDict[str, int] = OrderedDict()

    @property
    def batches(self) -> tuple[str, ...]:
        """Return the batches of the last ones, newest last."""
        return tuple(self._batches)

    def count(self, batch: str, events: int) -> None:
        """Count events of a batch; the first ones of a batch are logged."""
        self.events += events
        if batch not in self._batches:
            log.warning("events of a batch that the ledger does not know; acknowledged", extra={"batch": batch[:80]})
        self._batches[batch] = self._batches.pop(batch, 0) + events
        while len(self._batches) > MAX_BATCHES:
            self._batches.popitem(last=False)
        self.on_events(batch)
