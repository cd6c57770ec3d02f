"""The forecast of each batch, fixed soon after its acceptance, kept in the database, and graded after its end."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from muniflow.forecast.grade import Forecast, Grade, learned
from muniflow.forecast.interval import WINDOW, Interval
from muniflow.model.messages import BatchState
from muniflow.model.report import ForecastEntry
from muniflow.runtime.clock import Clock
from muniflow.runtime.loop import Loop
from muniflow_coordinator.foresight.saver import Saver
from muniflow_coordinator.metrics import Metrics
from muniflow_coordinator.retry_queue import RetryQueue
from muniflow_coordinator.runs.runs import Run
from muniflow_coordinator.state.learned_types import ForecastRow
from muniflow_coordinator.state.types import State

SAVE_S = 1.0
"""Time between two writes: the batches of one second share a transaction."""
KEPT = 500
"""Ended batches that are kept."""
TOO_LATE = 0.5
"""No forecast is made once this part of a batch is settled: it would not be one of the whole batch."""


@dataclass(eq=False)
class Forecasts:
    """Forecasts for one term of leadership. On the loop, but for `grades` and `interval`.

    No error here stops the ledger: what cannot be written now is tried again; where the database refuses the table,
    forecasts are graded in memory only.
    """

    loop: Loop
    clock: Clock
    state: State
    retry_queue: RetryQueue
    metrics: Metrics
    _rows: dict[str, ForecastRow] = field(init=False, default_factory=dict)
    _changed: set[str] = field(init=False, default_factory=set)
    _grades: tuple[Grade, ...] = field(init=False, default=())
    _interval: Interval = field(init=False, default_factory=lambda: learned(()))

    def __post_init__(self) -> None:
        """Begin without any."""
        self._saver = Saver(
            self.loop,
            self.retry_queue,
            SAVE_S,
            on_time=self.save,
            read=self._load,
            write=self._save,
            pending=lambda: bool(self._changed),
            warning="forecasts are not kept now, and graded only until this process ends",
            retries=False,
        )

    def load(self) -> None:
        """Read what earlier terms have kept."""
        self._saver.load()
        self._forget_oldest()

    @property
    def interval(self) -> Interval:
        """Return how far forecasts may be off."""
        return self._interval

    @property
    def grades(self) -> tuple[Grade, ...]:
        """Return the newest grades, oldest first."""
        return self._grades

    def restore(self, run: Run) -> None:
        """Tell a run when its batch was re-opened, if it was: kept, so that it stays the same over a restart.

        Called once for each run. That a batch had ended before is known from this process, or from the database.
        """
        row = self._rows.get(run.id, ForecastRow(run.id, run.submitted_at))
        ended_again = row.ended_at is not None and row.ended_at > (row.reopened_at or 0.0)
        if run.reopened_at is not None or ended_again:
            row = row._replace(reopened_at=run.reopened_at or self.clock.now_s())
            self._keep(row)
        run.reopened_at = row.reopened_at

    def lacks(self, run: Run) -> bool:
        """Return whether the forecast of a batch is to be fixed: it has none, and it is not too late."""
        row = self._rows.get(run.id, ForecastRow(run.id, run.submitted_at))
        settled = run.counts.total - run.counts.pending
        return row.forecast is None and row.reopened_at is None and settled <= TOO_LATE * run.counts.total

    def fix(self, run: Run, in_s: float, passed_s: float) -> None:
        """Fix the forecast of a batch: it ends `in_s` seconds after a moment `passed_s` after its submission."""
        row = self._rows.get(run.id, ForecastRow(run.id, run.submitted_at))
        self._keep(row._replace(forecast=Forecast.of(in_s, max(passed_s, 0.0), self._interval)))

    def entry(self, run: Run, actual_s: float, reason: str) -> ForecastEntry:
        """Return what the report of a batch says of its forecast.

        Args:
            run: the batch.
            actual_s: from its submission to its end.
            reason: why it has none, if it has none.
        """
        row = self._rows.get(run.id)
        if run.reopened_at is not None or (row is not None and row.reopened_at is not None):
            return ForecastEntry.without(actual_s, "the batch was re-opened after its end")
        if row is None or row.forecast is None:
            return ForecastEntry.without(actual_s, reason)
        return ForecastEntry(round(row.forecast.p50_s, 3), round(row.forecast.p90_s, 3), round(actual_s, 3))

    def fixed(self, batch_id: str) -> Forecast | None:
        """Return what was forecast of a batch at its acceptance, unless it was re-opened. From any thread."""
        row = self._rows.get(batch_id)
        return None if row is None or row.reopened_at is not None else row.forecast

    def reopened_at(self, batch_id: str) -> float | None:
        """Return when a batch was re-opened; `None` also of one that ended long ago. From any thread."""
        row = self._rows.get(batch_id)
        return None if row is None else row.reopened_at

    def ended(self, run: Run, state: BatchState) -> None:
        """Grade the forecast of a batch that has ended; not of one that was cancelled, re-opened or failed whole."""
        row = self._rows.get(run.id, ForecastRow(run.id, run.submitted_at))
        ended_at = run.finished_at or self.clock.now_s()
        whole = state in {"done", "partial"} and run.reopened_at is None and row.reopened_at is None
        if whole and row.forecast is not None:
            grade = Grade(row.forecast, max(ended_at - run.submitted_at, 0.0))
            row = row._replace(actual_s=grade.actual_s)
            self._learn((*self._grades, grade))
            if grade.ratio is not None:
                self.metrics.forecast_ratio.observe(grade.ratio)
        self._keep(row._replace(ended_at=ended_at, reopened_at=run.reopened_at or row.reopened_at))

    def forget(self, batch_id: str) -> None:
        """Keep nothing more of a batch that is erased."""
        self._rows.pop(batch_id, None)
        self._changed.discard(batch_id)

    def save(self) -> None:
        """Write what is not written yet, unless the ledger itself waits for the database."""
        if self._saver.save():
            self._forget_oldest()

    def stop(self) -> None:
        """Write nothing more."""
        self._saver.stop()

    def _keep(self, row: ForecastRow) -> None:
        self._rows[row.batch] = row
        self._changed.add(row.batch)
        self._saver.changed()

    def _learn(self, grades: Iterable[Grade]) -> None:
        self._grades = tuple(grades)[-WINDOW:]
        self._interval = learned(self._grades)

    def _load(self) -> None:
        rows = self.state.forecasts()
        self._rows = {row.batch: row for row in rows} | self._rows
        self._learn(grades_of(self._rows.values()))

    def _save(self) -> None:
        self.state.keep_forecasts([self._rows[batch] for batch in sorted(self._changed)], KEPT)
        self._changed.clear()

    def _forget_oldest(self) -> None:
        ended = [row for row in self._rows.values() if row.ended_at is not None]
        if len(ended) > 2 * KEPT:
            for row in sorted(ended, key=lambda one: one.ended_at or 0.0)[:-KEPT]:
                del self._rows[row.batch]
                self._changed.discard(row.batch)


def grades_of(rows: Iterable[ForecastRow]) -> tuple[Grade, ...]:
    """Return the grades of those batches that have one, oldest first."""
    graded = [row for row in rows if row.forecast is not None and row.actual_s is not None]
    graded.sort(key=lambda row: row.ended_at or 0.0)
    return tuple(Grade(row.forecast, row.actual_s) for row in graded if row.forecast and row.actual_s is not None)
