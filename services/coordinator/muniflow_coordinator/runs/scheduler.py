"""Which batch may dispatch its next image: weighted fair turns (stride scheduling) inside two windows.

Each batch has a pass; the batch with the lowest pass takes the turn, and its pass grows by 1 / weight. So over time
turns are shared by weight, whatever the sizes of the batches. A new batch, or one that had nothing to do, starts at
the current virtual time: it takes its share at once, and it cannot save up turns for later.
"""

from dataclasses import dataclass
from heapq import heappop, heappush, heapreplace

_ONE = 1 << 32  # passes are integers, so that they never lose precision


@dataclass(slots=True)
class _Entry:
    batch: int
    weight: int
    window: int
    """Images of it that may be in flight."""
    turn: int
    """Its pass."""
    in_flight: int = 0
    ready: bool = True
    queued: bool = False
    alive: bool = True


class Scheduler:
    """Turns between batches; every decision takes O(log n) for n batches."""

    def __init__(self, window_images: int, window_total: int) -> None:
        """Allow so many images in flight: `window_total` of all batches, `window_images` of one (see `set_window`)."""
        self._window_images = window_images
        self._window_total = window_total
        self._entries: dict[int, _Entry] = {}
        self._heap: list[tuple[int, int, _Entry]] = []
        self._sequence = 0
        self._now = 0
        self._total = 0

    @property
    def total_in_flight(self) -> int:
        """Images of all batches that are in flight."""
        return self._total

    def in_flight(self, batch: int) -> int:
        """Images of one batch that are in flight; 0 for one that is not known."""
        entry = self._entries.get(batch)
        return entry.in_flight if entry else 0

    def add(self, batch: int, weight: int) -> None:
        """Let a batch take turns; one that is known already only becomes ready again."""
        entry = self._entries.get(batch)
        if entry is None:
            entry = self._entries[batch] = _Entry(batch, weight, self._window_images, self._now)
        entry.ready = True
        self._enqueue(entry)

    def remove(self, batch: int) -> None:
        """Forget a batch and what it has in flight."""
        entry = self._entries.pop(batch, None)
        if entry is not None:
            entry.alive = False  # its place in the heap is dropped when it comes to the top
            self._total -= entry.in_flight

    def take(self) -> int | None:
        """Give the next turn: the batch that may dispatch one image now, counted as in flight; `None`: nobody may."""
        if self._total >= self._window_total:
            return None
        while self._heap:
            entry = self._heap[0][2]
            if not (entry.alive and entry.ready and entry.in_flight < entry.window):
                heappop(self._heap)
                entry.queued = False
                continue
            self._now = entry.turn
            entry.turn += _ONE // entry.weight
            entry.in_flight += 1
            self._total += 1
            self._sequence += 1
            heapreplace(self._heap, (entry.turn, self._sequence, entry))
            return entry.batch
        return None

    def set_window(self, batch: int, images: int) -> None:
        """Allow so many images of a batch in flight from now on; what is in flight beyond it stays."""
        entry = self._entries.get(batch)
        if entry is not None:
            entry.window = images
            self._enqueue(entry)

    def pause(self, batch: int) -> None:
        """Give the batch no turns until it is added again."""
        entry = self._entries.get(batch)
        if entry is not None:
            entry.ready = False  # its place in the heap is dropped when it comes to the top

    def nothing_left(self, batch: int) -> None:
        """Take back the turn just given: the batch has nothing to dispatch, until it is added again."""
        self.pause(batch)
        self.give_back(batch)

    def give_back(self, batch: int) -> None:
        """Take back the turn just given, as if it had not been taken."""
        entry = self._entries.get(batch)
        if entry is not None:
            entry.turn -= _ONE // entry.weight
            self.release(batch)

    def release(self, batch: int, images: int = 1) -> None:
        """These images of the batch are in flight no more."""
        entry = self._entries.get(batch)
        if entry is None:
            return
        released = min(images, entry.in_flight)
        entry.in_flight -= released
        self._total -= released
        self._enqueue(entry)

    def _enqueue(self, entry: _Entry) -> None:
        if entry.queued or not entry.ready or entry.in_flight >= entry.window:
            return
        entry.turn = max(entry.turn, self._now)
        entry.queued = True
        self._sequence += 1
        heappush(self._heap, (entry.turn, self._sequence, entry))
