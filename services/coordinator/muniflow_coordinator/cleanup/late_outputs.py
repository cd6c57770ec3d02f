"""Erases outputs that were written after their batch was erased.

A worker that loses its connection computes on, and the broker gives its tasks to another one. The copy that comes last
may write outputs when the batch is gone already; then it tells events of a batch that the ledger does not know.
"""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

from muniflow.errors import Unavailable
from muniflow.runtime.executor import Executor
from muniflow.runtime.loop import Loop
from muniflow.store.erasing import Erased, OutputEraser

log = logging.getLogger(__name__)
RETRY_DELAY_S = 2.0
"""Pause before the store is asked again after it was not available."""
MAX_IMAGES = 1_000_000
"""Whose names are known at a time, as hashes of 8 bytes in a set: some 60 MB; the oldest batches are forgotten."""


@dataclass(eq=False)
class LateOutputs:
    """Knows, for `after_s` seconds, what the outputs of erased batches are called."""

    loop: Loop
    executor: Executor
    after_s: float
    """0: never."""
    _erased: dict[str, OutputEraser] = field(init=False, default_factory=dict)
    _busy: dict[str, list[Callable[[], None]]] = field(init=False, default_factory=dict)
    """What waits for the end of a look, by batch."""

    def keep(self, batch_id: str, outputs: OutputEraser) -> None:
        """Know a batch that was erased just now."""
        if self.after_s <= 0:
            return
        self._erased.pop(batch_id, None)
        self._erased[batch_id] = outputs
        while sum(len(each.stems) for each in self._erased.values()) > MAX_IMAGES:
            del self._erased[next(iter(self._erased))]
        self.loop.call_later(self.after_s, partial(self._forget, batch_id, outputs))

    def _forget(self, batch_id: str, outputs: OutputEraser) -> None:
        if self._erased.get(batch_id) is outputs:
            del self._erased[batch_id]

    def look(self, batch_id: str) -> None:
        """Remove what is there again of a batch, if it was erased of late: a task of it has just stored its outputs."""
        if (outputs := self._erased.get(batch_id)) is None:
            return
        if (waiting := self._busy.get(batch_id)) is not None:
            again: Callable[[], None] = partial(self.look, batch_id)
            if again not in waiting:
                waiting.append(again)
            return
        self._busy[batch_id] = []
        self._submit(batch_id, outputs)

    def free(self, destination: str, then: Callable[[], None]) -> bool:
        """Return whether a new batch may have this destination now; if not, `then` is called when it may.

        What is below it is the new batch's from then on. It waits for as long as the output store is away, where it
        could write nothing either.
        """
        folder = f"{destination}/"
        for batch_id, outputs in list(self._erased.items()):
            other = f"{outputs.destination}/"
            if not (folder.startswith(other) or other.startswith(folder)):
                continue
            if (waiting := self._busy.get(batch_id)) is not None:
                log.info("a new batch waits until late outputs are erased", extra={"destination": destination})
                waiting.append(then)
                return False
            del self._erased[batch_id]
        return True

    def _submit(self, batch_id: str, outputs: OutputEraser) -> None:
        self.executor.submit(partial(_erase, outputs), partial(self._looked, batch_id, outputs))

    def _looked(self, batch_id: str, outputs: OutputEraser, done: Future[Erased]) -> None:
        try:
            erased = done.result()
        except Unavailable as error:
            log.warning("erasing late outputs waits: %s", error, extra={"batch": batch_id})
            self.loop.call_later(RETRY_DELAY_S, partial(self._submit, batch_id, outputs))
            return
        except Exception:
            log.exception("erasing late outputs failed", extra={"batch": batch_id})
        else:
            log.info("erased what came late: %s", erased, extra={"batch": batch_id})
        for waiting in self._busy.pop(batch_id):
            waiting()


def _erase(outputs: OutputEraser) -> Erased:
    """Remove what is there, in the executor."""
    done = Erased()
    outputs.erase(done)
    return done
