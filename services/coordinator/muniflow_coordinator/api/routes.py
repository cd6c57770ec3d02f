"""What the HTTP interface answers, in the threads of its server: it reads the database and looks at the loop."""

from collections.abc import Callable, Mapping

from pydantic import BaseModel

from muniflow import __version__
from muniflow.errors import Rejected
from muniflow.model.api import BATCHES, INFO, STAGES, BatchList, BatchStatus, ImageList, ImageStatus, Info
from muniflow.model.batch import Batch
from muniflow.model.messages import leaf_count
from muniflow.model.operation import Operations
from muniflow.model.report import output_keys
from muniflow.runtime.http import Query, Route
from muniflow_coordinator.api.stages import Stages
from muniflow_coordinator.core import Core
from muniflow_coordinator.runs.runs import Run
from muniflow_coordinator.runs.spec import read_spec
from muniflow_coordinator.runs.tallies import Tallies
from muniflow_coordinator.state.types import BatchRow, ImageRow, State

MAX_BATCHES = 500
MAX_IMAGES = 5000


class Answers:
    """The JSON routes of the coordinator."""

    def __init__(self, state: State, core: Callable[[], Core | None], operations: Operations, stages: Stages) -> None:
        """Answer from the database, and from the `core` of the coordinator while this process works.

        A standby that cannot pass a question on answers, too: with what the database knows, so without what is in
        flight, rates and reasons to wait.
        """
        self._state = state
        self._core = core
        self._operations = operations
        self._stages = stages

    def routes(self) -> Mapping[str, Route]:
        """All routes by path."""
        return {
            INFO: lambda _query, _parts: self.info(),
            BATCHES: lambda query, _parts: self.batches(query),
            f"{BATCHES}/*": lambda _query, parts: self.batch(parts[0]),
            f"{BATCHES}/*/images": lambda query, parts: self.images(parts[0], query),
            STAGES: lambda _query, _parts: self._stages.answer(),
        }

    def info(self) -> Info:
        """The coordinator itself."""
        core = self._core()
        return Info(
            version=__version__,
            operations=tuple(self._operations),
            connected=core is not None and core.transport.connected,
            blocked=None if core is None else core.transport.blocked,
            leader=core is not None,
        )

    def batches(self, query: Query) -> BatchList:
        """A page of batches, newest first."""
        limit = _number(query, "limit", 50, MAX_BATCHES)
        after = _number(query, "after", 0) or None
        rows = self._state.batches(
            state=query.get("state"), municipality=query.get("municipality"), after=after, limit=limit
        )
        last = str(rows[-1].number) if len(rows) == limit else None
        return BatchList(batches=tuple(self._status(row) for row in rows), next=last)

    def batch(self, batch_id: str) -> BatchStatus | None:
        """A batch now, or `None`."""
        row = self._state.find(batch_id)
        return None if row is None else self._status(row)

    def images(self, batch_id: str, query: Query) -> BaseModel | None:
        """A page of images by number, or `None`."""
        row = self._state.find(batch_id)
        if row is None:
            return None
        limit = _number(query, "limit", 100, MAX_IMAGES)
        after = _number(query, "after", -1)
        found = self._state.images(row.number, state=query.get("state"), after=after, limit=limit)
        batch = read_spec(row.spec)
        last = found[-1].image if len(found) == limit else None
        return ImageList(images=tuple(_image(batch, image) for image in found), next=last)

    def _status(self, row: BatchRow) -> BatchStatus:
        core = self._core()
        run = None if core is None else core.runs.get(row.id)
        batch = read_spec(row.spec) if run is None else run.batch
        counts = row.counts if run is None else run.counts
        tallies = Tallies.read(row.tallies, len(batch.route)) if run is None else run.tallies
        rate = None if run is None else run.rate.per_s()
        return BatchStatus(
            batch_id=row.id,
            municipality=row.municipality,
            state=row.state if run is None else run.state,
            destination=row.destination,
            total=counts.total,
            done=counts.done,
            failed=counts.failed,
            cancelled=counts.cancelled,
            in_flight=0 if run is None else len(run.in_flight),
            waiting_for=None if core is None else self._waiting_for(core, row, run),
            steps=tallies.progress(batch, counts.total),
            operations=tuple({"op": step.op, **step.params} for step in batch.route),
            output=batch.encoding.model_dump(mode="json", exclude_none=True),
            outputs_per_image=leaf_count(batch.route),
            rate_images_per_s=None if rate is None else round(rate, 3),
            eta_s=round(counts.pending / rate, 1) if rate and counts.pending else None,
            submitted_at=row.submitted_at,
            finished_at=row.finished_at if run is None else run.finished_at,
            report=row.report,
        )

    def _waiting_for(self, core: Core, row: BatchRow, run: Run | None) -> str | None:
        if run is None and row.state != "intake":
            return None
        if core.retry_queue.waiting_for is not None:
            return core.retry_queue.waiting_for
        if run is None:
            return core.intake_waits.get(row.id)
        if not core.transport.connected:
            return "broker: not connected"
        if core.transport.blocked is not None:
            return f"broker: {core.transport.blocked}"
        if run.waiting_for is not None or run.state != "running":
            return run.waiting_for
        if run.retrying is not None:
            return run.retrying
        idle = [step.op for step in run.batch.route if self._stages.without_consumer(step.op)]
        return f"no consumer: {', '.join(dict.fromkeys(idle))}" if idle else None


def _image(batch: Batch, row: ImageRow) -> ImageStatus:
    outputs: list[str] = []
    if row.state == "done":
        outputs = output_keys(batch.destination, row.stem, batch.encoding, leaf_count(batch.route))
    return ImageStatus(
        image=row.image,
        source=f"{batch.source}{row.stem}{row.suffix}",
        state=row.state,
        reasons=row.reasons,
        outputs=tuple(outputs),
    )


def _number(query: Query, name: str, default: int, largest: int | None = None) -> int:
    text = query.get(name)
    if text is None:
        return default
    try:
        number = int(text)
    except ValueError:
        raise Rejected(f"{name}: write a number, not {text[:20]!r}") from None
    if largest is not None and not 1 <= number <= largest:
        raise Rejected(f"{name}: 1 to {largest}")
    if abs(number) > 2**53:
        raise Rejected(f"{name}: too large")
    return number
