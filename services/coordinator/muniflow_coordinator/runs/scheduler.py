"""Chooses the batch that dispatches its next image: in turns (see `turns`), within the windows.

Express batches (docs/adr/0031-express-lane.md) have turns of their own, which come first.
"""

import sys
from dataclasses import dataclass, field

from muniflow_coordinator.runs.turns import Entry, Standing, Turn, Turns
from muniflow_coordinator.runs.window import Window

EXPRESS_TURNS = 7
"""Turns of express batches after which another one has its turn, where it may: an eighth is left to the others."""


@dataclass(slots=True)
class _Lane:
    """Batches that take turns with each other."""

    turns: Turns = field(default_factory=Turns)
    in_flight: int = 0
    bytes: int = 0
    """Of the intermediates of its images in flight."""

    def count(self, entry: Entry, images: int) -> None:
        """So many more images of a batch are in flight, or fewer."""
        entry.in_flight += images
        self.in_flight += images
        self.bytes += images * entry.image_bytes


class Scheduler:
    """Gives turns to batches; every decision takes O(log n) for n batches."""

    def __init__(
        self,
        window_images: int,
        window_total: int,
        window_bytes: int = sys.maxsize,
        *,
        image_bytes: int = 0,
        express_extra: int = 0,
    ) -> None:
        """Allow so much in flight.

        Args:
            window_images: images of a batch whose own window is not set (`set_window`).
            window_total: images of all batches, at most (`set_total`).
            window_bytes: of the intermediates of all batches; one image always goes.
            image_bytes: of one image of a batch whose own window is not set.
            express_extra: images of express batches that are not counted, so that full windows do not block them.
        """
        self._window_images = window_images
        self._window_total = self._total = window_total
        self._window_bytes = window_bytes
        self._image_bytes = image_bytes
        self._express_extra = express_extra
        self._entries: dict[int, Entry] = {}
        self._normal, self._express = _Lane(), _Lane()
        self._express_turns = 0
        """Since the last turn of another batch."""

    @property
    def total_in_flight(self) -> int:
        """Return how many images of all batches are in flight."""
        return self._normal.in_flight + self._express.in_flight

    @property
    def bytes_in_flight(self) -> int:
        """Return how many bytes of intermediates the images in flight may make."""
        return self._normal.bytes + self._express.bytes

    @property
    def window(self) -> int:
        """Return how many images may be in flight: of all batches together, each within its own window."""
        return min(sum(entry.window for entry in list(self._entries.values())), self._total)

    def in_flight(self, batch: int) -> int:
        """Return how many images of one batch are in flight; 0 for an unknown batch."""
        entry = self._entries.get(batch)
        return entry.in_flight if entry else 0

    def add(self, batch: int, standing: Standing) -> None:
        """Let a batch take turns; a known one becomes ready again, and keeps its standing."""
        entry = self._entries.get(batch)
        if entry is None:
            entry = self._entries[batch] = Entry(batch, standing, self._window_images, self._image_bytes)
        entry.ready = True
        self._lane(entry).turns.update(entry)

    def remove(self, batch: int) -> None:
        """Remove a batch and its images in flight."""
        entry = self._entries.pop(batch, None)
        if entry is not None:
            lane = self._lane(entry)
            entry.alive = False
            lane.count(entry, -entry.in_flight)
            lane.turns.update(entry)

    def take(self) -> int | None:
        """Return the batch that may dispatch one image now, which counts as in flight; `None` if none may."""
        fast, other = self._express.turns.next(), self._normal.turns.next()
        waits = fast is None or self._express_turns >= EXPRESS_TURNS
        if other is not None and waits and self._fits(other.entry):
            return self._serve(self._normal, other)
        # While another batch waits for its turn, express images must not fill the room that it waits for.
        passes = other is None or not waits
        if fast is not None and (self._express.in_flight < self._express_extra or (passes and self._fits(fast.entry))):
            return self._serve(self._express, fast)
        if other is not None and not waits and self._fits(other.entry):
            return self._serve(self._normal, other)
        return None

    def _fits(self, entry: Entry) -> bool:
        """Return whether the windows have room for an image of this batch.

        Where one of large images has none, another batch has none either: it would never find room.
        """
        normal, express = self._normal, self._express
        counted = max(express.in_flight - self._express_extra, 0)
        bytes_counted = normal.bytes + (express.bytes * counted // express.in_flight if counted else 0)
        room = not bytes_counted or bytes_counted + entry.image_bytes <= self._window_bytes
        return room and normal.in_flight + counted < self._total

    def _serve(self, lane: _Lane, turn: Turn) -> int:
        self._express_turns = self._express_turns + 1 if lane is self._express else 0
        lane.turns.serve(turn)
        lane.count(turn.entry, 1)
        lane.turns.update(turn.entry)
        return turn.entry.batch

    def set_total(self, images: int) -> None:
        """Allow so many images of all batches in flight from now on; more that are in flight already stay."""
        self._total = min(images, self._window_total)

    def set_window(self, batch: int, window: Window) -> None:
        """Allow so many images of a batch in flight from now on; more that are in flight already stay."""
        entry = self._entries.get(batch)
        if entry is not None:
            lane = self._lane(entry)
            lane.bytes += entry.in_flight * (window.image_bytes - entry.image_bytes)
            entry.window, entry.image_bytes = window
            lane.turns.update(entry)

    def pause(self, batch: int) -> None:
        """Give the batch no turns until it is added again."""
        entry = self._entries.get(batch)
        if entry is not None:
            entry.ready = False
            self._lane(entry).turns.update(entry)

    def nothing_left(self, batch: int) -> None:
        """Take back the last turn of a batch that has nothing to dispatch, until it is added again."""
        self.pause(batch)
        self.give_back(batch)

    def give_back(self, batch: int) -> None:
        """Take back the last turn of a batch."""
        entry = self._entries.get(batch)
        if entry is not None:
            self._lane(entry).turns.give_back(entry)
            self.release(batch)

    def release(self, batch: int, images: int = 1) -> None:
        """Remove images of a batch from those in flight."""
        entry = self._entries.get(batch)
        if entry is None:
            return
        lane = self._lane(entry)
        lane.count(entry, -min(images, entry.in_flight))
        lane.turns.update(entry)

    def _lane(self, entry: Entry) -> _Lane:
        return self._express if entry.standing.express else self._normal
