"""Removing intermediates in a few threads, beside the loop and never in its way."""

import logging
import threading
from collections import Counter, OrderedDict

from muniflow.errors import MuniflowError
from muniflow.model.keys import work_prefix
from muniflow.store.types import Store

log = logging.getLogger(__name__)

MAX_WAITING = 100_000
"""Images whose intermediates wait for removal. Past it the oldest are left to the end of their batch."""


class Cleaner:
    """Removes the intermediates of settled images; each is removed at most once at a time."""

    def __init__(self, work: Store, threads: int = 2, most_waiting: int = MAX_WAITING) -> None:
        """Remove from the store `work`, in `threads` threads."""
        self._work = work
        self._most_waiting = most_waiting
        self._waiting: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._running: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._stopped = False
        self._threads = [threading.Thread(target=self._serve, name="cleaner", daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, batch_id: str, image: int) -> None:
        """Remove the intermediates of an image soon."""
        with self._changed:
            self._waiting[batch_id, image] = None
            if len(self._waiting) > self._most_waiting:
                self._waiting.popitem(last=False)
            self._changed.notify()

    def forget(self, batch_id: str) -> bool:
        """Remove nothing more of a batch, which is re-opened; returns whether nothing is being removed now.

        What stays behind is removed when the batch ends.
        """
        with self._changed:
            for key in [key for key in self._waiting if key[0] == batch_id]:
                del self._waiting[key]
            return not self._running[batch_id]

    def stop(self) -> None:
        """Remove nothing more and wait for the threads."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        while (job := self._next()) is not None:
            batch_id, image = job
            try:
                self._work.delete_prefix(work_prefix(batch_id, image))
            except MuniflowError as error:
                # Not tried again: the end of the batch removes everything that is left of it.
                log.debug("intermediates stay: %s", error, extra={"batch": batch_id, "image": image})
            except Exception:
                log.exception("removing intermediates failed", extra={"batch": batch_id, "image": image})
            finally:
                self._finished(batch_id)

    def _next(self) -> tuple[str, int] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._waiting)
            if self._stopped:
                return None
            job, _ = self._waiting.popitem(last=False)
            self._running[job[0]] += 1
            return job

    def _finished(self, batch_id: str) -> None:
        with self._changed:
            self._running[batch_id] -= 1
            if not self._running[batch_id]:
                del self._running[batch_id]
