"""Removing what killed processes left unfinished among the outputs, a while after the end of each batch."""

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from muniflow.errors import MuniflowError
from muniflow.model.messages import TERMINAL
from muniflow.runtime.loop import Loop
from muniflow.store.types import KeepsUnfinished, Store
from muniflow_coordinator.state.types import BatchRow

log = logging.getLogger(__name__)

SLACK_S = 1.0
"""File systems know times to a second or better."""
LOOK_BACK = 1000
"""Batches that are looked at after a start: the newest ones,"""
LOOK_BACK_S = 86_400.0
"""as far as they ended so late that nobody may have swept them: no coordinator is away for longer."""


class Sweeper:
    """Sweeps the destination of each batch once, `after_s` seconds after its end.

    By then nothing that was written before the end can be at work: no write of a blob takes so long. A copy of a task
    that comes after the end writes newer files, which are left alone. One walk over the destination for each batch, in
    a thread: about a second for a million outputs.
    """

    def __init__(self, loop: Loop, output: Store, after_s: float) -> None:
        """Sweep the store `output`; never where it has no unfinished files, or `after_s` is 0."""
        self._loop = loop
        self._output = output if isinstance(output, KeepsUnfinished) and after_s > 0 else None
        self._after_s = after_s
        self._pool = ThreadPoolExecutor(1, "orphans")
        self._stopping = threading.Event()

    def add(self, destination: str, ended_s_ago: float = 0.0) -> None:
        """A batch has ended; call it from the loop."""
        if self._output is not None:
            wait_s = max(self._after_s + SLACK_S - ended_s_ago, 0.0)
            self._loop.call_later(wait_s, partial(self._submit, destination))

    def recall(self, newest: Sequence[BatchRow]) -> None:
        """Batches that ended before this process began, and may not have been swept."""
        now_s = time.time()
        for row in newest:
            ago_s = now_s - (row.finished_at or 0.0)
            if row.state in TERMINAL and ago_s < self._after_s + LOOK_BACK_S:
                self.add(row.destination, ago_s)

    def stop(self) -> None:
        """Sweep nothing more; the next start does."""
        self._stopping.set()
        self._pool.shutdown(cancel_futures=True)

    def _submit(self, destination: str) -> None:
        if not self._stopping.is_set():
            self._pool.submit(self._sweep, destination)

    def _sweep(self, destination: str) -> None:
        assert self._output is not None  # noqa: S101 - `add` saw to it
        try:
            before_s = time.time() - self._after_s
            removed = self._output.remove_unfinished(f"{destination}/", before_s, self._stopping.is_set)
        except MuniflowError as error:
            log.debug("unfinished files stay: %s", error, extra={"destination": destination})
        except Exception:
            log.exception("sweeping failed", extra={"destination": destination})
        else:
            if removed:
                log.info("unfinished files of killed processes are removed", extra={"files": removed})
