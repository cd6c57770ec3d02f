"""The JSON routes of the HTTP API. They run in the threads of its server, on the database and a view of the loop."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import islice
from typing import Any

from pydantic import BaseModel

from muniflow import __version__
from muniflow.forecast.interval import WINDOW
from muniflow.model.api import (
    AUDIT_TRAIL,
    BATCHES,
    FLEET,
    FORECASTS,
    INFO,
    PROFILE,
    SCALING,
    STAGES,
    WITH_OUTPUTS,
    AuditList,
    BatchList,
    BatchStatus,
    Document,
    ForecastList,
    ImageList,
    ImageStatus,
    Info,
    StageList,
)
from muniflow.model.batch import Batch
from muniflow.model.messages import leaf_count
from muniflow.model.operation import Operations
from muniflow.model.report import output_keys
from muniflow.model.report_schema import ReportEntry
from muniflow.planning.fleet import fleet_document
from muniflow.reason_codes import UNKNOWN
from muniflow.runtime.http import Query, Route
from muniflow.store.types import Store
from muniflow_coordinator.api.eta import NO_CONSUMER, eta_of
from muniflow_coordinator.api.forecasts import forecast_list
from muniflow_coordinator.api.query import next_after, number_of, page_of
from muniflow_coordinator.api.scaling import ScalingAnswers, not_leading
from muniflow_coordinator.api.stages import Stages
from muniflow_coordinator.api.view import View
from muniflow_coordinator.cleanup.archived import ArchivedReport
from muniflow_coordinator.foresight.deadlines import Feasibility
from muniflow_coordinator.foresight.service_times import kept_profile
from muniflow_coordinator.runs.runs import Run
from muniflow_coordinator.runs.spec import read_spec
from muniflow_coordinator.runs.tallies import Tallies
from muniflow_coordinator.state.types import BatchRow, ImageRow, State

MAX_BATCHES = 500
MAX_IMAGES = 5000
MAX_FORECASTS = 500


class Answers:
    """The JSON routes of the coordinator."""

    def __init__(
        self,
        state: State,
        view: Callable[[], View | None],
        operations: Operations,
        stages: Stages,
        scaling: ScalingAnswers,
        *,
        output: Store,
    ) -> None:
        """Answer from the database, and from the `view` of the coordinator while this process leads.

        A standby that cannot forward a request answers, too: from the database, so without images in flight, rates and
        reasons to wait. The images of archived batches are in their reports, in the store `output`.
        """
        self._state = state
        self._view = view
        self._operations = operations
        self._stages = stages
        self._scaling = scaling
        self._output = output

    def routes(self) -> Mapping[str, Route]:
        """Return all routes by path."""
        return {
            INFO: lambda _query, _parts: self.info(),
            BATCHES: lambda query, _parts: self.batches(query),
            f"{BATCHES}/*": lambda _query, parts: self.batch(parts[0]),
            f"{BATCHES}/*/images": lambda query, parts: self.images(parts[0], query),
            STAGES: lambda _query, _parts: self.stages(),
            f"{SCALING}/*": lambda _query, parts: self._scaling.wanted(parts[0]),
            FORECASTS: lambda query, _parts: self.forecasts(query),
            AUDIT_TRAIL: lambda query, _parts: self.audit(query),
            PROFILE: lambda query, _parts: self.profile(query),
            FLEET: lambda _query, _parts: self.fleet(),
        }

    def info(self) -> Info:
        """Return what this coordinator is."""
        view = self._view()
        return Info(
            version=__version__,
            operations=tuple(self._operations),
            connected=view is not None and view.transport.connected,
            blocked=None if view is None else view.transport.blocked,
            leader=view is not None,
            unknown_events=0 if view is None else view.runs.strangers.events,
            unknown_batches=() if view is None else view.runs.strangers.batches,
        )

    def stages(self) -> StageList:
        """Return the stages by operation and by Deployment."""
        return StageList(stages=self._stages.answer(), deployments=self._scaling.deployments())

    def profile(self, query: Query) -> BaseModel:
        """Return what is known of service times, as `muniflow.forecast.profile.read_profile` reads it."""
        view = self._view()
        profile = kept_profile(self._state.service_times()) if view is None else view.service_times.profile()
        return Document(profile.document(outputs=WITH_OUTPUTS.items() <= query.items()))

    def fleet(self) -> BaseModel:
        """Return what a batch that may be sent would meet, as `muniflow.planning.fleet.read_fleet` reads it.

        Raises:
            Unavailable: it is not known now.
        """
        view = self._view()
        if view is None:
            raise not_leading()
        return Document(fleet_document(view.forecaster.fleet()))

    def forecasts(self, query: Query) -> ForecastList:
        """Return the newest forecasts with their grades.

        Raises:
            Unavailable: the database does not answer, or its role was not allowed to create their table.
        """
        return forecast_list(self._state, number_of(query, "limit", WINDOW, MAX_FORECASTS))

    def audit(self, query: Query) -> AuditList:
        """Return a page of the audit trail, newest first."""
        limit, after = page_of(query, MAX_BATCHES)
        found = self._state.audit(owner=query.get("owner"), batch=query.get("batch"), after=after, limit=limit)
        last = next_after(found, limit, lambda numbered: str(numbered[0]))
        return AuditList(entries=tuple(entry for _, entry in found), next=last)

    def batches(self, query: Query) -> BatchList:
        """Return a page of batches, newest first."""
        limit, after = page_of(query, MAX_BATCHES)
        rows = self._state.batches(
            state=query.get("state"),
            municipality=query.get("municipality"),
            owner=query.get("owner"),
            after=after,
            limit=limit,
        )
        return BatchList(
            batches=tuple(map(self._status, rows)), next=next_after(rows, limit, lambda row: str(row.number))
        )

    def batch(self, batch_id: str) -> BatchStatus | None:
        """Return a batch now, or `None`."""
        row = self._state.find(batch_id)
        return None if row is None else self._status(row)

    def images(self, batch_id: str, query: Query) -> BaseModel | None:
        """Return a page of images by number, or `None`."""
        row = self._state.find(batch_id)
        if row is None:
            return None
        limit = number_of(query, "limit", 100, MAX_IMAGES)
        after = number_of(query, "after", -1)
        if row.archived_at is not None:
            entries = ArchivedReport(self._output, row).entries(after)
            wanted = (entry for entry in entries if query.get("state") in {None, entry.state})
            images = [_archived_image(entry) for entry in islice(wanted, limit)]
        else:
            batch = read_spec(row.spec)
            found = self._state.images(row.number, state=query.get("state"), after=after, limit=limit)
            images = [_image(batch, image) for image in found]
        return ImageList(images=tuple(images), next=next_after(images, limit, lambda image: image.image))

    def _status(self, row: BatchRow) -> BatchStatus:
        view = self._view()
        run = None if view is None else view.runs.get(row.id)
        batch = read_spec(row.spec) if run is None else run.batch
        counts = row.counts if run is None else run.counts
        tallies = Tallies.read(row.tallies, len(batch.route)) if run is None else run.tallies
        rate = None if run is None else run.rate.per_s()
        state = row.state if run is None else run.state
        waiting_for = None if view is None else self._waiting_for(view, row, run)
        eta = eta_of(view, state, run, waiting_for)
        return BatchStatus(
            batch_id=row.id,
            owner=row.owner,
            name=batch.name,
            municipality=row.municipality,
            state=state,
            revision=batch.revision,
            destination=row.destination,
            **asdict(counts),
            **_of_its_list(batch),
            in_flight=0 if run is None else len(run.in_flight),
            waiting_for=waiting_for,
            steps=tallies.progress(batch, counts.total - batch.changes.kept),
            operations=tuple({"op": step.op, **step.params} for step in batch.route),
            output=batch.encoding.model_dump(mode="json", exclude_none=True),
            outputs_per_image=leaf_count(batch.route),
            rate_images_per_s=None if rate is None else round(rate, 3),
            eta_s=eta.eta_s,
            eta_at=eta.eta_at,
            eta_reason=eta.reason,
            **_forecast(view, row),
            priority=batch.priority,
            **self._feasibility(view, batch, run)._asdict(),
            submitted_at=row.submitted_at,
            reopened_at=_reopened_at(view, run, row.id),
            finished_at=row.finished_at if run is None else run.finished_at,
            archived_at=row.archived_at,
            report=row.report,
        )

    @staticmethod
    def _feasibility(view: View | None, batch: Batch, run: Run | None) -> Feasibility:
        if view is None or run is None:
            return Feasibility(batch.deadline_at)
        return view.forecaster.deadlines.of(run)

    def _waiting_for(self, view: View, row: BatchRow, run: Run | None) -> str | None:
        if run is None and row.state != "intake":
            return None
        if view.retry_queue.waiting_for is not None:
            return view.retry_queue.waiting_for
        if run is None:
            return intake.waiting_for if (intake := view.intakes.get(row.id)) else None
        if not view.transport.connected:
            return "broker: not connected"
        if view.transport.blocked is not None:
            return f"broker: {view.transport.blocked}"
        if run.waiting_for is not None or run.state != "running":
            return run.waiting_for
        if run.retrying is not None:
            return run.retrying
        idle = [step.op for step in run.batch.route if self._stages.without_consumer(step.op)]
        return f"{NO_CONSUMER}{', '.join(dict.fromkeys(idle))}" if idle else None


def _forecast(view: View | None, row: BatchRow) -> dict[str, float]:
    """When a batch ends, as was forecast at its acceptance."""
    fixed = None if view is None else view.forecasts.fixed(row.id)
    if fixed is None:
        return {}
    return {
        "forecast_p50_at": round(row.submitted_at + fixed.p50_s, 3),
        "forecast_p90_at": round(row.submitted_at + fixed.p90_s, 3),
    }


def _reopened_at(view: View | None, run: Run | None, batch_id: str) -> float | None:
    if run is not None and run.reopened_at is not None:
        return run.reopened_at
    return None if view is None else view.forecasts.reopened_at(batch_id)


def _image(batch: Batch, row: ImageRow) -> ImageStatus:
    outputs: list[str] = []
    if row.state == "done":
        outputs = output_keys(batch.destination, row.stem, batch.encoding, leaf_count(batch.route))
    return ImageStatus(
        image=row.image,
        source=f"{batch.source}{row.stem}{row.suffix}",
        state=row.state,
        reasons=row.reasons,
        reason_code=(row.code or UNKNOWN) if row.state == "failed" else None,
        outputs=tuple(outputs),
    )


def _archived_image(entry: ReportEntry) -> ImageStatus:
    return ImageStatus(
        image=entry.image,
        source=entry.source,
        state=entry.state,
        reasons=tuple(entry.reasons),
        reason_code=(entry.reason_code or UNKNOWN) if entry.state == "failed" else None,
        outputs=tuple(entry.outputs),
    )


def _of_its_list(batch: Batch) -> dict[str, Any]:
    changes, skipped = batch.changes, batch.skipped
    reasons = dict(skipped.reasons)
    return {"kept": changes.kept, "gone": changes.gone, "skipped": skipped.count, "skipped_reasons": reasons}
