"""The batches that are being worked on, in memory: bounded by the window, whatever their sizes."""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from muniflow.model.batch import Batch
from muniflow.model.ledger import Ledger
from muniflow.model.messages import BatchState
from muniflow_coordinator.runs.rates import Rate
from muniflow_coordinator.runs.spec import (
    TaskWriter,
    first_queue,
    read_spec,
    spec_problem,
    task_writer,
    without_images,
)
from muniflow_coordinator.runs.tallies import Tallies
from muniflow_coordinator.state.types import BatchRow, Counts, ImageRow

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Flight:
    """An image that is dispatched and not settled; times are monotonic seconds."""

    dispatched_s: float
    heard_s: float
    """When it was dispatched last, or something of it was settled last."""
    again: int = 0
    """How often it was dispatched again for want of news."""


@dataclass(slots=True, eq=False)
class Run:
    """A batch that is not in a terminal state, or is about to be re-opened."""

    number: int
    batch: Batch
    state: BatchState
    counts: Counts
    submitted_at: float
    finished_at: float | None
    cancelling: bool
    ledger: Ledger
    tallies: Tallies
    queue: str
    """Where its tasks go first."""
    write_task: TaskWriter
    in_flight: dict[int, Flight] = field(default_factory=dict)
    """Images dispatched since the start and not settled, oldest first."""
    next_rows: deque[ImageRow] = field(default_factory=deque)
    """Pending images read ahead."""
    cursor: int = -1
    """The last image that was read ahead."""
    all_read: bool = False
    """Whether no pending image comes after it."""
    reopening: bool = False
    """Whether failed images are being opened again, in slices; it does not end between two of them."""
    settled_early: set[int] = field(default_factory=set)
    """Images that were settled while they waited in `next_rows`: dispatched before a restart."""
    held: list[Callable[[], None]] = field(default_factory=list)
    """What waits until it is in a terminal state."""
    rate: Rate = field(default_factory=Rate)
    waiting_for: str | None = None
    retrying: str | None = None
    """Why workers retry tasks of it, by their last report."""

    @classmethod
    def of(cls, row: BatchRow) -> "Run":
        """The batch of this row, with nothing in flight."""
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
            queue=first_queue(batch),
            write_task=task_writer(batch),
        )

    @classmethod
    def fresh(cls, number: int, batch: Batch, total: int, submitted_at: float) -> "Run":
        """A batch of `total` images that was accepted a moment ago."""
        return cls(
            number=number,
            batch=without_images(batch),
            state="running",
            counts=Counts(total),
            submitted_at=submitted_at,
            finished_at=None,
            cancelling=False,
            ledger=Ledger(batch.route),
            tallies=Tallies(len(batch.route)),
            queue=first_queue(batch),
            write_task=task_writer(batch),
        )

    @property
    def id(self) -> str:
        """The batch's id."""
        return self.batch.batch_id

    @property
    def has_pending(self) -> bool:
        """Whether there may be images to dispatch."""
        return not self.all_read or bool(self.next_rows)

    def read_ahead(self, rows: Sequence[ImageRow], *, all_of_them: bool) -> None:
        """Pending images after the cursor; at the end of the batch, they are `all_of_them`."""
        self.all_read = all_of_them
        if rows:
            self.cursor = rows[-1].image
            self.next_rows.extend(row for row in rows if row.image not in self.in_flight)

    def read_again(self) -> None:
        """Look for pending images from the first on: some were re-opened."""
        self.cursor = -1
        self.all_read = False
        self.next_rows.clear()
        self.settled_early.clear()


def may_run(row: BatchRow) -> bool:
    """Whether this build understands a batch of the ledger; one that it does not waits for the build that does."""
    problem = spec_problem(row.spec)
    if problem is not None:
        log.error("a batch of a later build waits for it: %s", problem, extra={"batch": row.id})
    return problem is None


class Runs:
    """All runs, by id and by number."""

    def __init__(self) -> None:
        """Start with none."""
        self._by_id: dict[str, Run] = {}
        self._by_number: dict[int, Run] = {}

    def add(self, run: Run) -> None:
        """Keep a run."""
        self._by_id[run.id] = run
        self._by_number[run.number] = run

    def remove(self, run: Run) -> None:
        """Forget a run."""
        self._by_id.pop(run.id, None)
        self._by_number.pop(run.number, None)

    def get(self, batch_id: str) -> Run | None:
        """A run by the id of its batch."""
        return self._by_id.get(batch_id)

    def numbered(self, number: int) -> Run | None:
        """A run by the number of its batch."""
        return self._by_number.get(number)

    def __iter__(self) -> Iterator[Run]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)
