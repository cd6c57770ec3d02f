"""Whose turn it is: by owner, then by priority, then half by due time and half by weight. Pure; integers only.

- **Owners** take turns in equal parts (stride scheduling: each has a pass, the lowest one is next and grows by 1).
- **Priorities** of one owner: the highest that has work, but each lower one that has work takes one turn of `EVERY`.
  Windows are deep: with turns alone, two batches that each fill theirs would be served alike. So a lower priority also
  holds no more than that part of what is in flight, counted in windows, and at least one image.
- **Batches** of one owner and priority: every second turn goes to the one that is due first. The other turns are
  shared by weight (stride scheduling, a pass grows by 1 / weight), so nothing starves.

Whoever comes new, or had no work, starts at the present: it takes its part at once, and cannot save turns for later.
Heaps are cleaned when something that may not take turns comes to their top, so a decision takes O(log n).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count
from math import inf
from typing import NamedTuple

from muniflow.forecast.turn_rates import LOW_SHARE
from muniflow.model.batch_document import PRIORITIES, Priority
from muniflow.model.owners import DEFAULT_OWNER

EVERY = round(1 / LOW_SHARE)
"""Of so many turns of an owner, each lower priority gets one."""
_ONE = 1 << 32  # passes are integers, so that they never lose precision


class Standing(NamedTuple):
    """What a batch's turns follow from."""

    weight: int = 1
    priority: Priority = "normal"
    due_at: float = inf
    """Unix seconds; infinite: never, it takes turns by weight alone."""
    owner: str = DEFAULT_OWNER
    express: bool = False
    """Whether it takes turns with express batches only."""


@dataclass(slots=True, eq=False)
class Entry:
    """A batch that takes turns."""

    batch: int
    standing: Standing
    window: int
    """Images of it that may be in flight."""
    image_bytes: int = 0
    """Of the intermediates of one image."""
    in_flight: int = 0
    ready: bool = True
    alive: bool = True
    turn: int = 0
    """Its pass among those of its priority."""
    filled: int = 0
    """The part of its window that is in flight, in `_ONE`s, as its class counts it."""
    wants: bool = False
    """Whether its class counts it among those that have images to dispatch."""
    by_turn: bool = False
    """Whether it is in that heap of its class; it may be there although it is not open."""
    by_due: bool = False

    @property
    def open(self) -> bool:
        """Whether it may take a turn now."""
        return self.alive and self.ready and self.in_flight < self.window


_Heap = list[tuple[float, int, Entry]]


@dataclass(slots=True)
class _Class:
    """The batches of one owner and priority."""

    number: Callable[[], int]
    by_turn: _Heap = field(default_factory=list)
    by_due: _Heap = field(default_factory=list)
    dead: int = 0
    """Removed batches that may be in `by_due` still: those that are due late come to its top late."""
    now: int = 0
    due_is_next: bool = True
    filled: int = 0
    """The parts of their windows that its batches have in flight, added up, in `_ONE`s."""
    wanting: int = 0
    """Batches that have images to dispatch, whether or not their windows have room."""
    owed_at: int = 0
    """The turn of its owner from which on it is served although a higher priority has work."""

    def enter(self, entry: Entry) -> None:
        if not entry.by_turn:
            entry.turn = max(entry.turn, self.now)
            entry.by_turn = True
            heappush(self.by_turn, (entry.turn, self.number(), entry))
        if not entry.by_due and entry.standing.due_at < inf:
            entry.by_due = True
            heappush(self.by_due, (entry.standing.due_at, self.number(), entry))

    def count(self, entry: Entry) -> None:
        """Take note of what a batch has in flight and to dispatch."""
        filled = entry.in_flight * (_ONE // entry.window) if entry.alive else 0
        wants = entry.alive and entry.ready
        self.filled += filled - entry.filled
        self.wanting += wants - entry.wants
        entry.filled, entry.wants = filled, wants

    def leave(self, entry: Entry) -> None:
        self.dead += entry.by_due
        if self.dead > len(self.by_due) // 2:
            self.by_due = [one for one in self.by_due if one[2].alive]
            heapify(self.by_due)
            self.dead = 0

    @property
    def has_work(self) -> bool:
        while self.by_turn and not self.by_turn[0][2].open:
            heappop(self.by_turn)[2].by_turn = False
        return bool(self.by_turn)

    def _first_due(self) -> Entry | None:
        while self.by_due and not self.by_due[0][2].open:
            entry = heappop(self.by_due)[2]
            entry.by_due = False
            self.dead -= not entry.alive
        return self.by_due[0][2] if self.by_due else None

    def next(self) -> tuple[Entry, bool]:
        """Return whose turn it is, and whether by due time. Only while it has work."""
        first_due = self._first_due() if self.due_is_next else None
        return (self.by_turn[0][2], False) if first_due is None else (first_due, True)

    def serve(self, entry: Entry, *, due: bool) -> int:
        """Give the turn that `next` returned; returns what it cost the pass of the batch."""
        self.due_is_next = not self.due_is_next
        if due:
            return 0
        cost = _ONE // entry.standing.weight
        self.now = entry.turn
        entry.turn += cost
        heapreplace(self.by_turn, (entry.turn, self.number(), entry))
        return cost


class _Owner:
    """The batches of one owner."""

    def __init__(self, number: Callable[[], int]) -> None:
        self.turn = 0
        self.queued = False
        self.taken = 0
        """Turns so far."""
        self.classes = {priority: _Class(number) for priority in reversed(PRIORITIES)}
        """The highest first."""

    def next_class(self) -> tuple[_Class, bool] | None:
        """The class that takes the next turn, and whether it does although a higher one has work."""
        highest, working = None, list[_Class]()
        for one in self.classes.values():
            if one.has_work and (highest is None or one.filled * (EVERY - 1) < highest.filled or not one.filled):
                working.append(one)
            if highest is None and one.wanting:
                highest = one
        lower = (one for one in working[1:] if one.owed_at <= self.taken)
        if (owed := next(lower, None)) is not None:
            return owed, True
        return (working[0], False) if working else None


class Turn(NamedTuple):
    """A turn that may be served."""

    entry: Entry
    owner: _Owner
    chosen: _Class
    due: bool
    """Whether it is by due time."""
    owed: bool
    """Whether the class is served although a higher one has work."""


class _Last(NamedTuple):
    """The last turn that was served, for who gives it back."""

    turn: Turn
    cost: int
    owed_at: int
    """Of the class, before it."""


class Turns:
    """All owners."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._number = count(1).__next__
        self._owners: dict[str, _Owner] = {}
        self._heap: list[tuple[int, int, _Owner]] = []
        self._now = 0
        self._last: _Last | None = None

    def update(self, entry: Entry) -> None:
        """Take note of a batch that is new or has changed: call it after each change."""
        owner = self._owners.get(entry.standing.owner)
        if owner is None:
            owner = self._owners[entry.standing.owner] = _Owner(self._number)
        chosen = owner.classes[entry.standing.priority]
        chosen.count(entry)
        if entry.open:
            chosen.enter(entry)
        elif not entry.alive:
            chosen.leave(entry)
        if not owner.queued:
            owner.turn = max(owner.turn, self._now)
            owner.queued = True
            heappush(self._heap, (owner.turn, self._number(), owner))

    def next(self) -> Turn | None:
        """Return the next turn, which is not taken yet; `None`: no batch is open."""
        while self._heap:
            owner = self._heap[0][2]
            found = owner.next_class()
            if found is not None:
                chosen, owed = found
                entry, due = chosen.next()
                return Turn(entry, owner, chosen, due, owed)
            heappop(self._heap)
            owner.queued = False
        return None

    def serve(self, turn: Turn) -> None:
        """Give the turn that `next` returned just now."""
        owner, chosen = turn.owner, turn.chosen
        self._last = _Last(turn, chosen.serve(turn.entry, due=turn.due), chosen.owed_at)
        if turn.owed:
            chosen.owed_at = owner.taken + EVERY
        owner.taken += 1
        self._now = owner.turn
        owner.turn += _ONE
        heapreplace(self._heap, (owner.turn, self._number(), owner))

    def give_back(self, entry: Entry) -> None:
        """Take back the last turn of a batch, if nobody has taken one since: it was of no use."""
        last, self._last = self._last, None
        if last is not None and last.turn.entry is entry:
            entry.turn -= last.cost
            last.turn.owner.turn -= _ONE
            last.turn.owner.taken -= 1
            last.turn.chosen.owed_at = last.owed_at
            last.turn.chosen.due_is_next = not last.turn.chosen.due_is_next
