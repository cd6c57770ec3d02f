"""Removes intermediates of settled images beside the loop."""

import logging
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

from muniflow.errors import MuniflowError
from muniflow.model.keys import work_prefix
from muniflow.runtime.executor import Executor
from muniflow.store.types import Store

log = logging.getLogger(__name__)

MAX_WAITING = 100_000
"""Images whose intermediates wait for removal. Beyond it, those of the oldest stay until the end of their batch."""
GROUP = 32
"""Images in one piece of background work: each piece costs a turn of the loop."""

_Key = tuple[str, int | None]
"""A batch's id and the number of an image; `None`: all of the batch."""


@dataclass(eq=False)
class Cleaner:
    """Removes the intermediates of images, a few groups at a time."""

    work: Store
    executor: Executor
    parallel: int
    """Groups that are removed at the same time."""
    max_waiting: int = MAX_WAITING
    _waiting: OrderedDict[_Key, None] = field(init=False, default_factory=OrderedDict)
    _busy: Counter[str] = field(init=False, default_factory=Counter)
    """Groups that are being removed and have images of a batch, by the batch's id."""
    _running: int = field(init=False, default=0)

    def __len__(self) -> int:
        """Return how many images wait. From any thread."""
        return len(self._waiting)

    def add_all(self, batch_id: str) -> None:
        """Remove all intermediates of a batch soon. Only while it does not run."""
        self.add(batch_id, (None,))

    def add(self, batch_id: str, images: Iterable[int | None]) -> None:
        """Remove the intermediates of images soon."""
        for image in images:
            self._waiting[batch_id, image] = None
        for _ in range(len(self._waiting) - self.max_waiting):
            self._waiting.popitem(last=False)
        self._next()

    def forget(self, batch_id: str) -> bool:
        """Drop the waiting images of a batch that is re-opened; returns whether none of it is being removed now.

        Its remaining intermediates are removed when the batch ends.
        """
        for key in [key for key in self._waiting if key[0] == batch_id]:
            del self._waiting[key]
        return not self._busy[batch_id]

    def _next(self) -> None:
        while self._waiting and self._running < self.parallel:
            group = [self._waiting.popitem(last=False)[0] for _ in range(min(GROUP, len(self._waiting)))]
            batches = {batch_id for batch_id, _ in group}
            self._running += 1
            self._busy.update(batches)
            self.executor.submit(partial(self._remove, group), partial(self._removed, batches))

    def _remove(self, group: Sequence[_Key]) -> None:
        """Remove one group, in the executor."""
        for batch_id, image in group:
            if self.executor.stopped:
                return
            try:
                self.work.delete_prefix(work_prefix(batch_id, image))
            except MuniflowError as error:
                # No retry: the end of the batch removes everything that is left of it.
                log.debug("cannot remove intermediates: %s", error, extra={"batch": batch_id, "image": image})
            except Exception:
                log.exception("removing intermediates failed", extra={"batch": batch_id, "image": image})

    def _removed(self, batches: set[str], _done: Future[None]) -> None:
        self._running -= 1
        self._busy -= Counter(batches)
        self._next()
