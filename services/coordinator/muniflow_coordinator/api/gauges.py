"""The gauges of a leading coordinator, computed at each scrape, in any thread."""

from collections import Counter

from muniflow.errors import Unavailable
from muniflow.forecast.grade import coverage
from muniflow_coordinator.api.eta import quiet_s
from muniflow_coordinator.api.owner_gauges import OwnerLive, in_flow_order
from muniflow_coordinator.api.view import View
from muniflow_coordinator.foresight.outlook import Outlook
from muniflow_coordinator.metrics import Live
from muniflow_coordinator.runs.runs import Run


def live_of(view: View) -> Live:
    """Return the gauges of a leading coordinator."""
    runs = list(view.runs)
    flights = [flight for run in runs for flight in list(run.in_flight.values())[:1]]
    grades = view.forecasts.grades
    now, now_s = view.clock.now_s(), view.clock.monotonic_s()
    return Live(
        batches=Counter(run.state for run in runs),
        pending=sum(run.counts.pending for run in runs),
        in_flight=sum(len(run.in_flight) for run in runs),
        oldest_s=max((now_s - flight.dispatched_s for flight in flights), default=0.0),
        cleanup=len(view.cleaner),
        waiting=view.retry_queue.waiting_for is not None,
        connected=view.transport.connected,
        blocked=view.transport.blocked is not None,
        window=view.scheduler.window,
        intermediate_bytes=view.scheduler.bytes_in_flight,
        held=Counter(filter(None, (_cause(view, run) for run in runs))),
        oldest_batch_s=max((now - run.submitted_at for run in runs), default=0.0),
        coverage=coverage(grades),
        graded=len(grades),
        eta_s=_eta_s(view, runs),
        stages=_outlook(view),
        owners=_owners(view, runs),
        flow=in_flow_order((tuple(step.op for step in run.batch.route), run.counts.pending) for run in runs),
    )


def _owners(view: View, runs: list[Run]) -> dict[str, OwnerLive]:
    owners: dict[str, OwnerLive] = {}
    for owner in {run.batch.owner for run in runs}:
        own = [run for run in runs if run.batch.owner == owner]
        owners[owner] = OwnerLive(len(own), sum(run.counts.pending for run in own), _eta_s(view, own))
    for load in view.forecaster.loads:
        if load.owner in owners:
            owners[load.owner].add(OwnerLive(work_s={name: stage.work_s for name, stage in load.stages.items()}))
    return owners


def _outlook(view: View) -> Outlook:
    try:
        return view.forecaster.outlook()
    except Unavailable:
        return {}


def _cause(view: View, run: Run) -> str | None:
    """Return what a batch waits for other than compute, as one of `metrics.CAUSES`."""
    if view.retry_queue.waiting_for is not None:
        return "ledger"
    if not view.transport.connected or view.transport.blocked is not None:
        return "broker"
    if run.state == "finishing":
        return "report" if run.waiting_for is not None else None
    if run.waiting_for is not None:
        return "broker"
    return "store" if run.retrying is not None else None


def _eta_s(view: View, runs: list[Run]) -> float | None:
    """Return when the last batch ends, in seconds from now; `None` while that is not known of every batch."""
    pending = [run for run in runs if run.counts.pending]
    going_on = [run for run in pending if _cause(view, run) is None and quiet_s(view, run) is None]
    ends = [view.forecaster.end_of(run.id).at for run in going_on]
    if None in ends or len(ends) < len(pending):
        return None
    return max(max((at for at in ends if at is not None), default=0.0) - view.clock.now_s(), 0.0)
