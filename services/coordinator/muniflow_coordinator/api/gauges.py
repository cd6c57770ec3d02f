"""What the coordinator shows of its images: gauges, read from any thread when somebody asks, and the ends of traces."""

import time
from collections import Counter

from muniflow.model.ledger import SettledImage
from muniflow.runtime.tracing import ImageId, Tracing
from muniflow_coordinator.core import Core
from muniflow_coordinator.metrics import Live
from muniflow_coordinator.runs.runs import Flight, Run


def live_of(core: Core, window_images: int) -> Live:
    """The gauges of a coordinator that works.

    Args:
        core: its parts.
        window_images: how many images of all batches may be in flight.
    """
    runs = list(core.runs)
    flights = [flight for run in runs for flight in list(run.in_flight.values())[:1]]
    now_s = time.monotonic()
    return Live(
        batches=Counter(run.state for run in runs),
        pending=sum(run.counts.pending for run in runs),
        in_flight=sum(len(run.in_flight) for run in runs),
        oldest_s=max((now_s - flight.dispatched_s for flight in flights), default=0.0),
        cleanup=len(core.cleaner),
        waiting=core.retry_queue.waiting_for is not None,
        connected=core.transport.connected,
        blocked=core.transport.blocked is not None,
        window=window_images,
        held=Counter(filter(None, (_cause(core, run) for run in runs))),
        oldest_batch_s=max((time.time() - run.submitted_at for run in runs), default=0.0),
        eta_s=max((_eta_s(run) for run in runs), default=0.0),
    )


def trace_end(tracing: Tracing, run: Run, image: SettledImage, flight: Flight | None) -> None:
    """Make the span of an image that is settled; one dispatched before a restart began with its batch."""
    began_at = run.submitted_at if flight is None else time.time() - (time.monotonic() - flight.dispatched_s)
    tracing.ended(ImageId(run.id, run.submitted_at, image.image, image.run), began_at, image.state)


def _cause(core: Core, run: Run) -> str | None:
    """What a batch waits for other than compute, in one word of `metrics.CAUSES`."""
    if core.retry_queue.waiting_for is not None:
        return "ledger"
    if not core.transport.connected or core.transport.blocked is not None:
        return "broker"
    if run.state == "finishing":
        return "report" if run.waiting_for is not None else None
    if run.waiting_for is not None:
        return "broker"
    return "store" if run.retrying is not None else None


def _eta_s(run: Run) -> float:
    rate = run.rate.per_s()
    return run.counts.pending / rate if rate else 0.0
