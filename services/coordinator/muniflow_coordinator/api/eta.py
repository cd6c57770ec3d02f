"""When a batch ends, for people: in seconds and as clock time, or why that is not known."""

from typing import NamedTuple

from muniflow.model.messages import TERMINAL, BatchState
from muniflow_coordinator.api.view import View
from muniflow_coordinator.runs.runs import Run

NO_CONSUMER = "no consumer: "
"""How `waiting_for` says that nobody takes the tasks of an operation."""


class Eta(NamedTuple):
    """All `None`: it has ended."""

    eta_s: float | None = None
    eta_at: float | None = None
    """Unix time, seconds."""
    reason: str | None = None
    """Why it is not known, in words that stand alone: `waits for a worker of blur`."""


def eta_of(view: View | None, state: BatchState, run: Run | None, waiting_for: str | None) -> Eta:
    """Return the end of a batch that has not ended; from any thread.

    Args:
        view: of the leading coordinator; `None`: this one does not lead.
        state: of the batch.
        run: the batch, if it is accepted.
        waiting_for: what holds it up. While something does, nobody knows when it ends.
    """
    if state in TERMINAL:
        return Eta()
    if waiting_for is not None:
        operations = waiting_for.removeprefix(NO_CONSUMER)
        return Eta(reason=f"waits for {'a worker of ' if operations != waiting_for else ''}{operations}")
    if view is None:
        return Eta(reason="this coordinator does not lead")
    if state == "intake":
        return Eta(reason="its list of images is being read")
    if run is None:
        return Eta(reason="waits for a later build")
    if state == "finishing":
        return Eta(reason="its report is being written")
    if (quiet := quiet_s(view, run)) is not None:
        return Eta(reason=f"no image was settled for {quiet:.0f} s")
    end = view.forecaster.end_of(run.id)
    if end.at is None:
        return Eta(reason=end.reason)
    now = view.clock.now_s()
    return Eta(round(max(end.at - now, 0.0), 1), round(max(end.at, now), 3))


def quiet_s(view: View, run: Run) -> float | None:
    """Return for how long none of the images in flight was settled, if that is longer than usual; from any thread.

    A broker that freezes, or a store that hangs, shows here first: a forecast would only climb.
    """
    if not run.in_flight:
        return None
    begun = run.counts.pending < run.counts.total
    return run.rate.paused_s() if begun else view.forecaster.unbegun_s(run)
