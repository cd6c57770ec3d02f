"""Every metric of the coordinator. Labels are bounded: never a batch or an image; 50 owners at most."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from muniflow.model.messages import TERMINAL, UNFINISHED
from muniflow.model.topology import LETTER_QUEUES
from muniflow.runtime.broker_metrics import BLOCKED, CONFIRM, CONNECTED, CONNECTIONS_LOST
from muniflow.runtime.metrics import counter, gauge, histogram
from muniflow.worker.metrics import MALFORMED
from muniflow_coordinator.api.failure_counts import Counted
from muniflow_coordinator.api.owner_gauges import OwnerLabels, OwnerLive, folded
from muniflow_coordinator.foresight.outlook import Outlook

COMMIT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
LAG_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0)
BATCH_SECONDS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0, 604800.0)
RATIOS = (0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.4, 2.0, 4.0, 10.0)

LEADER = gauge("muniflow_leader", "1 for the leader, 0 for a standby.")
BATCHES = gauge("muniflow_batches", "Batches that are not in a terminal state.", "state")
BATCHES_HELD = gauge(
    "muniflow_batches_held",
    "Batches that wait for something other than compute: `broker`, `ledger`, `store` (workers retry), `report`.",
    "cause",
)
BATCHES_ENDED = counter("muniflow_batches_ended", "Batches that reached a terminal state.", "state")
BATCH = histogram("muniflow_batch_seconds", "Time from submission to the end of a batch.", buckets=BATCH_SECONDS)
OLDEST_BATCH = gauge(
    "muniflow_oldest_batch_age_seconds", "Time since the submission of the oldest batch that has not ended."
)
ETA = gauge(
    "muniflow_slowest_batch_eta_seconds",
    "Time until the last of the running batches ends, by the forecast. The leader exports it while it is known: not "
    "while a batch waits for something.",
)
FORECAST_RATIO = histogram(
    "muniflow_forecast_ratio",
    "Time that a batch took over the time that was forecast at its acceptance (p50).",
    buckets=RATIOS,
)
FORECAST_COVERAGE = gauge(
    "muniflow_forecast_coverage_ratio",
    "Part of the last 50 graded forecasts whose batch ended within p90. The leader exports it once there is one.",
)
FORECASTS_GRADED = gauge("muniflow_forecasts_graded", "Graded forecasts that count, 50 at most.")
PENDING = gauge("muniflow_images_pending", "Images that are not settled.")
IN_FLIGHT = gauge("muniflow_images_in_flight", "Images dispatched and not settled.")
WINDOW = gauge("muniflow_window_images", "Images that may be in flight: as many as keep the replicas busy.")
INTERMEDIATES = gauge(
    "muniflow_intermediate_bytes", "Bytes of intermediates that the images in flight may make, as forecast."
)
OLDEST = gauge("muniflow_oldest_image_age_seconds", "Time since the oldest image in flight was dispatched.")
FAILURES = gauge(
    "muniflow_failures", "Failed images that can be replayed, by step and reason code.", "step", "reason_code"
)
LETTERS = gauge(
    "muniflow_letters",
    "Dead letters that are no task of a known batch, or no task of ours, by the queue that they were in.",
    "queue",
)
DISPATCHED = counter("muniflow_images_dispatched", "Images published as tasks, also again after a restart.")
AGAIN = counter("muniflow_images_redispatched", "Images dispatched again because they had no event.")
SETTLED = counter("muniflow_images_settled", "Images that were settled.", "state")
EVENTS = counter("muniflow_events", "Events read, also late and duplicate ones.")
UNKNOWN_EVENTS = counter(
    "muniflow_events_of_unknown_batches", "Events of batches that the ledger does not know; they are acknowledged."
)
REFUSED_EVENTS = counter(
    "muniflow_events_refused",
    "Messages of events, and lost tasks, whose sender is not known to serve the step; they change nothing.",
)
UNKNOWN_COMMANDS = counter(
    "muniflow_commands_for_unknown_batches",
    "Commands that named a batch that the ledger does not know; they change nothing.",
)
LAG = histogram(
    "muniflow_events_lag_seconds",
    "Time from the publishing of events by a worker to their transaction.",
    buckets=LAG_SECONDS,
)
COMMIT = histogram("muniflow_ledger_commit_seconds", "Time of one transaction.", buckets=COMMIT_SECONDS)
LEDGER_WAITING = gauge("muniflow_ledger_waiting", "1 while the database is unavailable and all work waits for it.")
STAGE_WORK = gauge(
    "muniflow_stage_remaining_work_seconds",
    "Compute time that all accepted batches still need in a stage, also of images that are not dispatched yet. The "
    "leader exports it while it is known.",
    "stage",
)
STAGE_WANTED = gauge(
    "muniflow_stage_wanted_replicas",
    "Replicas of a stage with which every batch ends when it is due. The leader exports it while it is known.",
    "stage",
)
STAGE_RUNNING = gauge(
    "muniflow_stage_running_replicas", "Replicas of a stage that consume tasks, while it is known.", "stage"
)
STAGE_PLACE = gauge(
    "muniflow_stage_place",
    "1 for each step that running batches have: its place in their order, weighted by their images.",
    "step",
    "place",
)
OWNER_BATCHES = gauge("muniflow_owner_batches", "Batches that are not in a terminal state.", "owner")
OWNER_PENDING = gauge("muniflow_owner_images_pending", "Images that are not settled.", "owner")
OWNER_ETA = gauge(
    "muniflow_owner_eta_seconds", "Time until the last running batch of the owner ends, while it is known.", "owner"
)
OWNER_WORK = gauge(
    "muniflow_owner_remaining_work_seconds", "Compute time that the owner's batches still need in a stage.", "owner",
    "stage",
)  # fmt: skip
OWNER_SETTLED = counter("muniflow_owner_images_settled", "Images that were settled.", "owner", "state")
WEBHOOKS_SENT = counter("muniflow_webhooks_sent", "Webhooks that were taken (2xx).")
WEBHOOKS_FAILED = counter("muniflow_webhooks_failed", "Failed attempts to send a webhook.", "reason_code")
WEBHOOKS_DEAD = counter("muniflow_webhooks_dead", "Webhooks that were given up; `muniflow webhooks` lists them.")
CLEANUP = gauge("muniflow_cleanup_waiting", "Images whose intermediates wait for removal.")

_Values = dict[tuple[str, ...], float]
"""By the values of the labels."""
CAUSES = ("broker", "ledger", "store", "report")


@dataclass(frozen=True)
class Live:
    """The gauges at one moment."""

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
    intermediate_bytes: int = 0
    held: Mapping[str, int] = field(default_factory=dict)
    """Batches that wait, by cause."""
    oldest_batch_s: float = 0.0
    eta_s: float | None = None
    """Until the last running batch ends; `None`: not known."""
    coverage: float | None = None
    """Of p90; `None`: nothing is graded."""
    graded: int = 0
    stages: Outlook = field(default_factory=dict)
    """Empty: not known."""
    owners: Mapping[str, OwnerLive] = field(default_factory=dict)
    """Those with batches that are not in a terminal state."""
    flow: Sequence[str] = ()
    """Operations of running batches, in the order in which images reach them."""


class _LiveCollector(Collector):
    def __init__(
        self, read: Callable[[], Live], counted: Callable[[], Counted | None], label: Callable[[str], str]
    ) -> None:
        self._read = read
        self._label = label
        self._counted = counted

    def collect(self) -> Iterable[Metric]:
        live = self._read()
        yield from _counted(self._counted() if live.leader else None)
        yield BATCHES.family({(state,): live.batches.get(state, 0) for state in UNFINISHED})
        yield BATCHES_HELD.family({(cause,): live.held.get(cause, 0) for cause in CAUSES})
        for entry, value in (
            (LEADER, live.leader),
            (CONNECTED, live.connected),
            (BLOCKED, live.blocked),
            (PENDING, live.pending),
            (IN_FLIGHT, live.in_flight),
            (WINDOW, live.window),
            (INTERMEDIATES, live.intermediate_bytes),
            (OLDEST, live.oldest_s),
            (OLDEST_BATCH, live.oldest_batch_s),
            (FORECASTS_GRADED, live.graded),
            (CLEANUP, live.cleanup),
            (LEDGER_WAITING, live.waiting),
        ):
            yield entry.family(float(value))
        if live.coverage is not None:
            yield FORECAST_COVERAGE.family(live.coverage)
        if live.eta_s is not None:
            yield ETA.family(live.eta_s)
        yield from _stages(live.stages)
        if live.flow:
            yield STAGE_PLACE.family({(step, str(place)): 1.0 for place, step in enumerate(live.flow, 1)})
        yield from _owners(folded(live.owners, self._label))


def _stages(stages: Outlook) -> Iterable[Metric]:
    """Yield the metrics of what is known; a metric without a value is left out, for it could be read as 0."""
    if stages:
        yield STAGE_WORK.family({(name,): stage.work_s for name, stage in stages.items()})
        yield STAGE_WANTED.family({(name,): stage.wanted for name, stage in stages.items()})
    running: dict[tuple[str, ...], float] = {
        (name,): stage.running for name, stage in stages.items() if stage.running is not None
    }
    if running:
        yield STAGE_RUNNING.family(running)


def _owners(owners: Mapping[str, OwnerLive]) -> Iterable[Metric]:
    """Yield the metrics of those that have batches; what has no value is left out."""
    batches: _Values = {(owner,): float(live.batches) for owner, live in owners.items()}
    pending: _Values = {(owner,): float(live.pending) for owner, live in owners.items()}
    eta_s: _Values = {(owner,): live.eta_s for owner, live in owners.items() if live.eta_s is not None}
    work_s: _Values = {(owner, name): work for owner, live in owners.items() for name, work in live.work_s.items()}
    for entry, values in ((OWNER_BATCHES, batches), (OWNER_PENDING, pending), (OWNER_ETA, eta_s), (OWNER_WORK, work_s)):
        if values:
            yield entry.family(values)


def _counted(counted: Counted | None) -> Iterable[Metric]:
    """Yield what is known; the queues of letters are all there, so that an alert on one can end."""
    if counted is not None:
        yield FAILURES.family({(operation, code): count for (operation, code), count in counted.failures.items()})
        yield LETTERS.family({(queue,): counted.letters.get(queue, 0) for queue in (*LETTER_QUEUES, *counted.letters)})


class Metrics:
    """The metrics of a process; the loop increments its counters."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register everything with `registry`."""
        self._registry = registry
        self.images_settled = SETTLED.counter(registry)
        self._owner_settled = OWNER_SETTLED.counter(registry)
        self._owners = OwnerLabels()
        self.images_dispatched = DISPATCHED.counter(registry)
        self.images_again = AGAIN.counter(registry)
        self.batches_ended = BATCHES_ENDED.counter(registry)
        self.batch_seconds = BATCH.histogram(registry)
        self.forecast_ratio = FORECAST_RATIO.histogram(registry)
        self.events = EVENTS.counter(registry)
        self.events_unknown = UNKNOWN_EVENTS.counter(registry)
        self.events_refused = REFUSED_EVENTS.counter(registry)
        self.commands_unknown = UNKNOWN_COMMANDS.counter(registry)
        self.events_lag_seconds = LAG.histogram(registry)
        self.webhooks_sent = WEBHOOKS_SENT.counter(registry)
        self.webhooks_failed = WEBHOOKS_FAILED.counter(registry)
        self.webhooks_dead = WEBHOOKS_DEAD.counter(registry)
        self.malformed = MALFORMED.counter(registry)
        self.commit_seconds = COMMIT.histogram(registry)
        self.confirm_seconds = CONFIRM.histogram(registry)
        self.connections_lost = CONNECTIONS_LOST.counter(registry)
        # Present from the start, so that a rate of them is never "no data".
        for state in ("done", "failed", "cancelled"):
            self.images_settled.labels(state)
        for state in sorted(TERMINAL - {"rejected"}):
            self.batches_ended.labels(state)

    def watch(self, read: Callable[[], Live], counted: Callable[[], Counted | None] = lambda: None) -> None:
        """Call `read` and `counted` for the gauges at each scrape, from another thread."""
        self._registry.register(_LiveCollector(read, counted, self._owners.of))

    def settled(self, owner: str, *, done: int = 0, failed: int = 0, cancelled: int = 0) -> None:
        """Count settled images."""
        for state, images in (("done", done), ("failed", failed), ("cancelled", cancelled)):
            self.images_settled.labels(state).inc(images)
            self._owner_settled.labels(self._owners.of(owner), state).inc(images)
