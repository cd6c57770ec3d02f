"""The batches that run, in memory: bounded by the window, whatever their sizes."""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from muniflow.model.batch import Batch
from muniflow.model.ledger import Ledger
from muniflow.model.messages import BatchState
from muniflow.runtime.clock import Clock
from muniflow_coordinator.runs.rates import Rate
from muniflow_coordinator.runs.spec import (
    TaskWriter,
    read_spec,
    spec_problem,
    task_writer,
    without_images,
)
from muniflow_coordinator.runs.strangers import Strangers
from muniflow_coordinator.runs.tallies import Tallies
from muniflow_coordinator.state.types import BatchRow, Counts, ImageRow

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Flight:
    """An image that is dispatched and not settled; times are monotonic seconds."""

    dispatched_s: float
    heard_s: float
    """When it was last dispatched, or the last event of it was recorded."""
    again: int = 0
    """How often it was dispatched again because no event of it came."""


@dataclass(slots=True, eq=False)
class Run:
    """A batch that is not in a terminal state, or is being re-opened."""

    number: int
    batch: Batch
    state: BatchState
    counts: Counts
    submitted_at: float
    finished_at: float | None
    cancelling: bool
    ledger: Ledger
    tallies: Tallies
    write_task: TaskWriter
    rate: Rate
    """Settled images."""
    signed: tuple[str, tuple[str, ...]] | None = None
    """Id of the key that signed what `write_task` writes, and the prefixes that may be read."""
    in_flight: dict[int, Flight] = field(default_factory=dict)
    """Images dispatched since the start and not settled, oldest first."""
    next_rows: deque[ImageRow] = field(default_factory=deque)
    """Pending images read ahead."""
    cursor: int = -1
    """The last image in `next_rows` so far."""
    all_read: bool = False
    """Whether no pending image comes after `cursor`."""
    reopening: bool = False
    """Whether failed images are being re-opened, in slices; the batch does not end between two slices."""
    reopened_at: float | None = None
    """When it began again after it had ended, since this coordinator leads; unix seconds."""
    settled_early: set[int] = field(default_factory=set)
    """Images settled while in `next_rows`, because they were dispatched before a restart."""
    announced: bool = False
    """Whether the notice of its end is on its way; its terminal state is recorded after it."""
    held: list[Callable[[], None]] = field(default_factory=list)
    """Commands and answers that wait for its terminal state."""
    waiting_for: str | None = None
    retrying: str | None = None
    """Why workers retry its tasks, by their last report."""

    @classmethod
    def of(cls, row: BatchRow, clock: Clock) -> "Run":
        """Return the batch of this row, with nothing in flight."""
        batch = read_spec(row.spec)
        return cls(
            number=row.number,
            batch=batch,
            state=row.state,
            counts=row.counts,
            submitted_at=row.submitted_at,
            finished_at=row.finished_at,
            cancelling=row.cancelling,
            ledger=Ledger(batch.route),
            tallies=Tallies.read(row.tallies, len(batch.route)),
            write_task=task_writer(batch),
            rate=Rate(clock),
        )

    @classmethod
    def fresh(cls, number: int, batch: Batch, counts: Counts, submitted_at: float, clock: Clock) -> "Run":
        """Return a new batch; one whose images are all done already is about to end."""
        return cls(
            number=number,
            batch=without_images(batch),
            state="running" if counts.pending else "finishing",
            counts=counts,
            submitted_at=submitted_at,
            finished_at=None if counts.pending else clock.now_s(),
            cancelling=False,
            ledger=Ledger(batch.route),
            tallies=Tallies(len(batch.route)),
            write_task=task_writer(batch),
            rate=Rate(clock),
        )

    @property
    def id(self) -> str:
        """Return the batch's id."""
        return self.batch.batch_id

    @property
    def accepted_at(self) -> float:
        """Return when its due time began to count: a batch that had ended and was re-opened is accepted again."""
        return self.submitted_at if self.reopened_at is None else self.reopened_at

    @property
    def has_pending(self) -> bool:
        """Return whether there may be images to dispatch."""
        return not self.all_read or bool(self.next_rows)

    def read_ahead(self, rows: Sequence[ImageRow], *, all_of_them: bool) -> None:
        """Add pending images after the cursor; with `all_of_them`, they are the last ones."""
        self.all_read = all_of_them
        if rows:
            self.cursor = rows[-1].image
            self.next_rows.extend(row for row in rows if row.image not in self.in_flight)

    def read_again(self) -> None:
        """Read pending images from the first on again, because some were re-opened or cancelled."""
        self.cursor = -1
        self.all_read = False
        self.next_rows.clear()
        self.settled_early.clear()


def may_run(row: BatchRow) -> bool:
    """Return whether this build understands a batch in the database; otherwise the batch waits for a later build."""
    problem = spec_problem(row.spec)
    if problem is not None:
        log.error("batch waits for a later build: %s", problem, extra={"batch": row.id})
    return problem is None


class Runs:
    """All runs, by id and by number. May be read from any thread."""

    def __init__(self) -> None:
        """Begin empty."""
        self._by_id: dict[str, Run] = {}
        self._by_number: dict[int, Run] = {}
        self.strangers = Strangers()

    def add(self, run: Run) -> None:
        """Add a run."""
        self._by_id[run.id] = run
        self._by_number[run.number] = run

    def remove(self, run: Run) -> None:
        """Remove a run."""
        self._by_id.pop(run.id, None)
        self._by_number.pop(run.number, None)

    def get(self, batch_id: str) -> Run | None:
        """Return a run by the id of its batch."""
        return self._by_id.get(batch_id)

    def numbered(self, number: int) -> Run | None:
        """Return a run by the number of its batch."""
        return self._by_number.get(number)

    def __iter__(self) -> Iterator[Run]:
        return iter(list(self._by_id.values()))

    def __contains__(self, batch_id: object) -> bool:
        return batch_id in self._by_id

    def __len__(self) -> int:
        return len(self._by_id)
