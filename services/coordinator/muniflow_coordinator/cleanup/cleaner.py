"""Removes intermediates of settled images beside the loop."""

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
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
_OnLeft = Callable[[], None]
"""Called where intermediates may be left."""


def _until_the_end() -> None:
    """Those of an image stay until the end of their batch."""


@dataclass(eq=False)
class Cleaner:
    """Removes the intermediates of images, a few groups at a time."""

    work: Store
    executor: Executor
    parallel: int
    """Groups that are removed at the same time."""
    max_waiting: int = MAX_WAITING
    _waiting: OrderedDict[_Key, _OnLeft] = field(init=False, default_factory=OrderedDict)
    _busy: Counter[str] = field(init=False, default_factory=Counter)
    """Groups that are being removed and have images of a batch, by the batch's id."""
    _running: int = field(init=False, default=0)

    def __len__(self) -> int:
        """Return how many images wait. From any thread."""
        return len(self._waiting)

    def add_all(self, batch_id: str, on_left: _OnLeft) -> None:
        """Remove all intermediates of a batch soon, or call `on_left`. Only while it does not run."""
        self._add({(batch_id, None): on_left})

    def add(self, batch_id: str, images: Iterable[int]) -> None:
        """Remove the intermediates of images soon."""
        self._add({(batch_id, image): _until_the_end for image in images})

    def _add(self, new: Mapping[_Key, _OnLeft]) -> None:
        self._waiting.update(new)
        for _ in range(len(self._waiting) - self.max_waiting):
            self._waiting.popitem(last=False)[1]()
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
            group = [self._waiting.popitem(last=False) for _ in range(min(GROUP, len(self._waiting)))]
            batches = {batch_id for (batch_id, _), _ in group}
            self._running += 1
            self._busy.update(batches)
            self.executor.submit(partial(self._remove, group), partial(self._removed, batches))

    def _remove(self, group: Sequence[tuple[_Key, _OnLeft]]) -> list[_OnLeft]:
        """Remove one group, in the executor; returns what to call about those that could not be removed."""
        left: list[_OnLeft] = []
        for (batch_id, image), on_left in group:
            if self.executor.stopped:
                break
            try:
                self.work.delete_prefix(work_prefix(batch_id, image))
            except MuniflowError as error:
                log.debug("cannot remove intermediates: %s", error, extra={"batch": batch_id, "image": image})
                left.append(on_left)
            except Exception:
                log.exception("removing intermediates failed", extra={"batch": batch_id, "image": image})
        return left

    def _removed(self, batches: set[str], done: Future[list[_OnLeft]]) -> None:
        self._running -= 1
        self._busy -= Counter(batches)
        for on_left in done.result():
            on_left()
        self._next()
