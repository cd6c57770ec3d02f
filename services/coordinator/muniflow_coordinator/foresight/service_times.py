"""Learns from the workers' reports how long tasks take, and keeps it in the database of the ledger."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from muniflow.errors import Invalid
from muniflow.forecast.profile import Profile
from muniflow.forecast.service_time import Sums
from muniflow.forecast.task_class import RAW, READS, TaskClass
from muniflow.model.batch import Batch
from muniflow.model.messages import Tally, TaskSums
from muniflow.planning.files import below, read_profile_file
from muniflow.runtime.clock import Clock
from muniflow.runtime.loop import Loop
from muniflow.runtime.settings import variable
from muniflow_coordinator.foresight.saver import Saver
from muniflow_coordinator.retry_queue import RetryQueue
from muniflow_coordinator.state.learned_types import ServiceTimeRow
from muniflow_coordinator.state.types import State

SAVE_S = 10.0
"""Time between two writes to the database."""
MAX_CLASSES = 500
"""Classes that are kept; the one that was observed longest ago goes first."""
_DEVICE = re.compile(r"[a-z0-9_-]{1,16}")


class Observed(NamedTuple):
    """What was observed of one class."""

    sums: Sums
    """Faded until `since`."""
    since: float
    """Unix time, seconds."""
    recent: Sums = Sums()
    """After that."""

    def at(self, now: float) -> Sums:
        """Return all of it, faded until now."""
        return self.sums.then(self.recent, now - self.since)


class Named(NamedTuple):
    """A class with its key, which is worked out once."""

    task_class: TaskClass
    key: str


@dataclass(slots=True)
class _Own:
    """What is kept of a running batch."""

    named: dict[tuple[int, int, str, str], Named | None] = field(default_factory=dict)
    """The classes of its tasks by first step, steps, reads and device; `None`: this build does not know it."""
    sums: dict[str, Sums] = field(default_factory=dict)
    """By the key of the class; not faded."""


def given_profile(file: str | None) -> Profile:
    """Return the service times of `MUNIFLOW_PROFILE_FILE`; without it documented ones.

    Raises:
        Invalid: with every fault by its place.
    """
    if file is None:
        return Profile()
    try:
        return read_profile_file(Path(file))
    except Invalid as invalid:
        raise below(variable("profile_file"), invalid) from None


@dataclass(eq=False)
class ServiceTimes:
    """Service times for one term of leadership. On the loop, but for `profile` and `own`.

    No error here stops the ledger: what cannot be read or written now is tried again with the next write.
    """

    loop: Loop
    clock: Clock
    state: State
    retry_queue: RetryQueue
    known: Profile = field(default_factory=Profile)
    """For classes that were never observed here."""
    _observed: dict[TaskClass, Observed] = field(init=False, default_factory=dict)
    _changed: dict[TaskClass, str] = field(init=False, default_factory=dict)
    """Classes that are to be written, with their keys."""
    _batches: dict[str, _Own] = field(init=False, default_factory=dict)
    _version: int = field(init=False, default=0)
    """Grows with each observation."""
    _made: tuple[int, Profile] = field(init=False)
    """The last profile, and the version that it was made of."""

    def __post_init__(self) -> None:
        """Begin with what is known."""
        self._made = 0, self.known
        self._saver = Saver(
            self.loop,
            self.retry_queue,
            SAVE_S,
            on_time=self.save,
            read=self._load,
            write=self._save,
            pending=lambda: bool(self._changed),
            warning="service times are not kept now",
            retries=True,
        )

    def load(self) -> None:
        """Read what earlier terms have learned."""
        self._saver.load()

    def add(self, batch: Batch, tally: Tally) -> None:
        """Add what a worker reports of a running batch; what this build does not understand is left out."""
        for reported in tally.tasks or ():
            own = self._batches.setdefault(batch.batch_id, _Own())
            place = (tally.step, reported.steps, reported.reads, reported.device)
            if place not in own.named:
                own.named[place] = class_of(batch, *place)
            named, sums = own.named[place], sums_of(reported)
            if named is not None and sums is not None:
                own.sums[named.key] = own.sums.get(named.key, Sums()) + sums
                self._add(named, sums)

    def profile(self) -> Profile:
        """Return what is known of service times now."""
        version, (made_of, profile) = self._version, self._made
        if made_of != version:
            now = self.clock.now_s()
            found = {task_class: seen.at(now) for task_class, seen in list(self._observed.items())}
            profile = Profile(self.known.costs, {**self.known.observed, **found})
            self._made = version, profile
        return profile

    def own(self, batch_id: str) -> Mapping[str, Sums]:
        """Return what a running batch itself has shown, by the key of the class."""
        own = self._batches.get(batch_id)
        return {} if own is None else dict(own.sums)

    def forget(self, batch_id: str) -> None:
        """Forget what a batch itself has shown: it has ended."""
        self._batches.pop(batch_id, None)

    def save(self) -> None:
        """Write what is not written yet, unless the ledger itself waits for the database."""
        self._fold()
        self._saver.save()

    def stop(self) -> None:
        """Write nothing more."""
        self._saver.stop()

    def _add(self, named: Named, sums: Sums) -> None:
        task_class = named.task_class
        seen = self._observed.get(task_class)
        if seen is None:
            self._make_room()
            seen = Observed(Sums(), self.clock.now_s())
        self._observed[task_class] = seen._replace(recent=seen.recent + sums)
        self._changed[task_class] = named.key
        self._version += 1
        self._saver.changed()

    def _make_room(self) -> None:
        if len(self._observed) >= MAX_CLASSES:
            oldest = min(self._observed, key=lambda task_class: self._observed[task_class].since)
            self._observed.pop(oldest)
            self._changed.pop(oldest, None)

    def _fold(self) -> None:
        """Fade what was observed before. Once per write: many small steps would fade less than one."""
        now = self.clock.now_s()
        for task_class in self._changed:
            self._observed[task_class] = Observed(self._observed[task_class].at(now), now)

    def _load(self) -> None:
        for task_class, kept in read_rows(self.state.service_times()):
            seen = self._observed.get(task_class)
            # Something was seen if the database could not be read at the start of the term.
            self._observed[task_class] = kept if seen is None else _joined(kept, seen, self.clock.now_s())
        self._version += 1

    def _save(self) -> None:
        rows = [
            ServiceTimeRow(key, task_class.model_dump_json(), json.dumps(seen.sums.as_list()), seen.since)
            for task_class, key in self._changed.items()
            for seen in (self._observed[task_class],)
        ]
        self.state.keep_service_times(rows, MAX_CLASSES)
        self._changed.clear()


def _joined(kept: Observed, seen: Observed, now: float) -> Observed:
    return Observed(kept.sums.then(seen.at(now), now - kept.since), now)


def class_of(batch: Batch, step: int, steps: int, reads: str, device: str) -> Named | None:
    """Return the class of tasks of a batch; `None` if this build does not know it.

    Args:
        batch: gives route, output format and how sources are decoded.
        step: the first step that they ran.
        steps: how many they ran.
        reads: what they read, as reported.
        device: where they ran, as reported.
    """
    end, known = step + steps, READS.get(reads)
    if known is None or not 0 <= step < end <= len(batch.route) or not _DEVICE.fullmatch(device):
        return None
    writes = batch.encoding.format if end == len(batch.route) else RAW
    task_class = TaskClass.of(batch.route[step:end], known, writes, device, batch.decode)
    return Named(task_class, task_class.key)


def sums_of(reported: TaskSums) -> Sums | None:
    """Return the reported sums; `None` if they are of another form, or are no sums."""
    numbers = (*reported.sums, *(reported.outputs or ()))
    if any(not math.isfinite(value) or value < 0 for value in numbers):
        return None
    try:
        sums = Sums.from_list(numbers)
    except ValueError:
        return None
    return sums if sums.n > 0 else None


def read_rows(rows: Iterable[ServiceTimeRow]) -> list[tuple[TaskClass, Observed]]:
    """Return what is kept in the database; rows that a later build wrote in another form are left out."""
    found = []
    for row in rows:
        try:
            sums = Sums.from_list(json.loads(row.sums))
            found.append((TaskClass.model_validate_json(row.task_class), Observed(sums, row.updated_at)))
        except (ValidationError, ValueError, TypeError):
            continue
    return found


def kept_profile(rows: Iterable[ServiceTimeRow]) -> Profile:
    """Return the profile of a coordinator that does not lead: what the database has."""
    return Profile(observed={task_class: seen.sums for task_class, seen in read_rows(rows)})
