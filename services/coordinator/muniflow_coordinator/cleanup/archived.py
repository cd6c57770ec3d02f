"""The report of a batch, which stands for the rows of its images once the batch is archived."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from muniflow.errors import NotFound, Rejected, Unavailable
from muniflow.model.keys import stem_of
from muniflow.model.report_check import whole_header
from muniflow.model.report_redacted import read_header
from muniflow.model.report_rows import entry_lines, lines_of
from muniflow.model.report_schema import ReportEntry
from muniflow.store.revisions import content_of
from muniflow.store.types import Store
from muniflow_coordinator.runs.spec import read_spec
from muniflow_coordinator.state.types import BatchRow, Counts

LOST = "the batch is archived, and its report is no longer in the output store"


@dataclass(frozen=True)
class ArchivedReport:
    """The report of a batch that has ended. All of it is read in the threads of executors and of the HTTP server."""

    output: Store
    row: BatchRow

    def problem(self, stopped: Callable[[], bool]) -> str | None:
        """Return why it cannot stand for the images; `None` if it can.

        Args:
            stopped: whether to end early.

        Raises:
            Unavailable: the store is away, or `stopped`.
        """
        if self.row.report is None:
            return "it has no report"
        try:
            header, images = whole_header(_until(stopped, content_of(self.output, self.row.report)))
        except NotFound:
            return "its report is not in the output store"
        except Rejected as rejected:
            return f"its report: {rejected}"
        totals = header.get("totals", {})
        found = Counts(images, *(totals.get(name, 0) for name in ("done", "failed", "cancelled")))
        if (header["batch_id"], header.get("revision", 1)) != (self.row.id, read_spec(self.row.spec).revision):
            return "its report is that of another batch, or of another run"
        return None if found == self.row.counts else "its report counts its images otherwise than the ledger"

    def entries(self, after: int = -1) -> Iterator[ReportEntry]:
        """Yield its images, those with numbers above `after`: line by line, in constant memory.

        Raises:
            NotFound: it is no longer there.
            Unavailable: the store is away.
        """
        if self.row.report is None:
            raise NotFound(LOST)
        try:
            lines = entry_lines(content_of(self.output, self.row.report))
            for number, line in enumerate(lines):  # every image has its line, in order
                if number > after:
                    yield ReportEntry.model_validate_json(line)
        except NotFound:
            raise NotFound(LOST) from None

    def stems(self, entry: ReportEntry) -> tuple[str, ...]:
        """Return what the outputs of an image may be called: one name where it is done, as its outputs say it."""
        if entry.outputs:
            return (entry.outputs[0].removeprefix(f"{self.row.destination}/").rpartition("-")[0],)
        name = entry.source.removeprefix(read_spec(self.row.spec).source)
        return tuple(dict.fromkeys((stem_of(name), name)))

    def counts(self) -> Counts:
        """Return how many images it counts in each state.

        Raises:
            NotFound: it is no longer there.
            Unavailable: the store is away.
        """
        header = read_header(next(lines_of(content_of(self.output, self.row.report or "")), b""))
        return Counts(*(header["totals"][name] for name in ("images", "done", "failed", "cancelled")))


def _until(stopped: Callable[[], bool], chunks: Iterator[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        if stopped():
            raise Unavailable("the coordinator", "it is stopping")
        yield chunk
