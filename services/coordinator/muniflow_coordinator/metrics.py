"""Every metric of the coordinator, each declared once. Labels are bounded: never a batch, image or municipality."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from muniflow.model.messages import TERMINAL, UNFINISHED
from muniflow.runtime.broker_metrics import BLOCKED, CONFIRM, CONNECTED, CONNECTIONS_LOST
from muniflow.runtime.metrics import counter, gauge, histogram
from muniflow.worker.metrics import MALFORMED

COMMIT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
LAG_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0)
BATCH_SECONDS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0, 604800.0)

LEADER = gauge("muniflow_leader", "1 where this coordinator works, 0 where it stands by.")
BATCHES = gauge("muniflow_batches", "Batches that are not in a terminal state.", "state")
BATCHES_HELD = gauge(
    "muniflow_batches_held",
    "Batches that wait for something other than compute: `broker`, `ledger`, `store` (workers try again), `report`.",
    "cause",
)
BATCHES_ENDED = counter("muniflow_batches_ended", "Batches that came to a terminal state.", "state")
BATCH = histogram("muniflow_batch_seconds", "Time from submission to the end of a batch.", buckets=BATCH_SECONDS)
OLDEST_BATCH = gauge(
    "muniflow_oldest_batch_age_seconds", "Time since the submission of the oldest batch that is not ended."
)
ETA = gauge(
    "muniflow_slowest_batch_eta_seconds", "Time until the last of the running batches ends, at its own present rate."
)
PENDING = gauge("muniflow_images_pending", "Images that are not settled.")
IN_FLIGHT = gauge("muniflow_images_in_flight", "Images dispatched and not settled.")
WINDOW = gauge("muniflow_window_images", "Images that may be in flight.")
OLDEST = gauge("muniflow_oldest_image_age_seconds", "Time since the oldest image in flight was dispatched.")
DISPATCHED = counter("muniflow_images_dispatched", "Images published as tasks, also again after a restart.")
AGAIN = counter("muniflow_images_redispatched", "Images dispatched again because nothing was heard of them.")
SETTLED = counter("muniflow_images_settled", "Images that came to their end.", "state")
EVENTS = counter("muniflow_events", "Events read, also late and doubled ones.")
LAG = histogram(
    "muniflow_events_lag_seconds",
    "Time from a worker's publishing of events to their transaction in the ledger.",
    buckets=LAG_SECONDS,
)
COMMIT = histogram("muniflow_ledger_commit_seconds", "Time of one transaction of the ledger.", buckets=COMMIT_SECONDS)
LEDGER_WAITING = gauge("muniflow_ledger_waiting", "1 while the database is away and all work waits for it.")
CLEANUP = gauge("muniflow_cleanup_waiting", "Images whose intermediates wait for removal.")

CAUSES = ("broker", "ledger", "store", "report")


@dataclass(frozen=True)
class Live:
    """What is measured when somebody asks."""

    batches: Mapping[str, int]
    """Batches that are not in a terminal state, by state."""
    pending: int
    in_flight: int
    oldest_s: float
    cleanup: int
    waiting: bool
    leader: bool = True
    connected: bool = False
    blocked: bool = False
    window: int = 0
    held: Mapping[str, int] = field(default_factory=dict)
    """Batches that wait, by cause."""
    oldest_batch_s: float = 0.0
    eta_s: float = 0.0


class _LiveCollector(Collector):
    def __init__(self, read: Callable[[], Live]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        live = self._read()
        yield BATCHES.family({(state,): live.batches.get(state, 0) for state in UNFINISHED})
        yield BATCHES_HELD.family({(cause,): live.held.get(cause, 0) for cause in CAUSES})
        for entry, value in (
            (LEADER, live.leader),
            (CONNECTED, live.connected),
            (BLOCKED, live.blocked),
            (PENDING, live.pending),
            (IN_FLIGHT, live.in_flight),
            (WINDOW, live.window),
            (OLDEST, live.oldest_s),
            (OLDEST_BATCH, live.oldest_batch_s),
            (ETA, live.eta_s),
            (CLEANUP, live.cleanup),
            (LEDGER_WAITING, live.waiting),
        ):
            yield entry.family(float(value))


class Metrics:
    """The metrics of a process; its counters grow on the loop."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register everything with `registry`."""
        self._registry = registry
        self.images_settled = SETTLED.counter(registry)
        self.images_dispatched = DISPATCHED.counter(registry)
        self.images_again = AGAIN.counter(registry)
        self.batches_ended = BATCHES_ENDED.counter(registry)
        self.batch_seconds = BATCH.histogram(registry)
        self.events = EVENTS.counter(registry)
        self.events_lag_seconds = LAG.histogram(registry)
        self.malformed = MALFORMED.counter(registry)
        self.commit_seconds = COMMIT.histogram(registry)
        self.confirm_seconds = CONFIRM.histogram(registry)
        self.connections_lost = CONNECTIONS_LOST.counter(registry)
        # Present from the start, so that a rate over them is never "no data".
        for state in ("done", "failed", "cancelled"):
            self.images_settled.labels(state)
        for state in sorted(TERMINAL - {"rejected"}):
            self.batches_ended.labels(state)

    def watch(self, read: Callable[[], Live]) -> None:
        """Ask `read` for the current values with each scrape; it is called from another thread."""
        self._registry.register(_LiveCollector(read))
