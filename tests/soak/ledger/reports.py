"""The reports of batches that were filled in, as a coordinator writes them; without them none is archived."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tests.soak.ledger.fill import Ended

from muniflow.model.report import ForecastEntry, final_state, report_chunks, report_header
from muniflow.store.local import LocalStore
from muniflow_coordinator.handlers.finalizer import entries
from muniflow_coordinator.runs.spec import read_spec
from muniflow_coordinator.state.opening import open_state
from muniflow_coordinator.state.sql import SqlState


def write_reports(database_url: str, output: Path, wanted: Sequence[Ended]) -> None:
    """Write them, those that are not there yet."""
    store = LocalStore(output)
    with closing(open_state(database_url)) as state:
        for each in wanted:
            if store.size(f"out/{each.id}/report.json") is None:
                _write(state, store, each)


def _write(state: SqlState, store: LocalStore, wanted: Ended) -> None:
    row = state.find(wanted.id)
    assert row is not None
    assert row.report is not None
    batch, counts = read_spec(row.spec), row.counts
    header = report_header(
        batch,
        final_state(counts.done, counts.failed, counts.cancelled),
        done=counts.done,
        failed=counts.failed,
        cancelled=counts.cancelled,
        submitted_at=row.submitted_at,
        finished_at=row.finished_at or 0.0,
        forecast=ForecastEntry.without(0.0, "filled in"),
    )
    store.write(row.report, report_chunks(header, entries(batch, state.every_image(row.number))))
