"""Every metric of the coordinator. Labels are bounded: never a batch, an image or a municipality."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


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


class _LiveCollector(Collector):
    def __init__(self, read: Callable[[], Live]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        live = self._read()
        batches = GaugeMetricFamily(
            "muniflow_batches", "Batches that are not in a terminal state, by state.", labels=["state"]
        )
        for state, count in live.batches.items():
            batches.add_metric([state], count)
        yield batches
        for name, text, value in (
            ("muniflow_images_pending", "Images that are not settled.", live.pending),
            ("muniflow_images_in_flight", "Images dispatched and not settled.", live.in_flight),
            (
                "muniflow_oldest_image_age_seconds",
                "Time since the oldest image in flight was dispatched.",
                live.oldest_s,
            ),
            ("muniflow_cleanup_waiting", "Images whose intermediates wait for removal.", live.cleanup),
            ("muniflow_ledger_waiting", "1 while the database is away and all work waits for it.", int(live.waiting)),
        ):
            yield GaugeMetricFamily(name, text, value=value)


class Metrics:
    """The catalogue; its counters grow on the loop."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register everything with `registry`."""
        self._registry = registry
        self.images_settled = Counter(
            "muniflow_images_settled", "Images that came to their end.", ["state"], registry=registry
        )
        self.images_dispatched = Counter(
            "muniflow_images_dispatched", "Images published as tasks, also again after a restart.", registry=registry
        )
        self.batches_ended = Counter(
            "muniflow_batches_ended", "Batches that came to a terminal state.", ["state"], registry=registry
        )
        self.events = Counter("muniflow_events", "Events read, also late and doubled ones.", registry=registry)
        self.malformed = Counter(
            "muniflow_malformed_messages", "Messages that could not be read.", ["queue"], registry=registry
        )
        self.commit_seconds = Histogram(
            "muniflow_ledger_commit_seconds",
            "Time of one transaction of the ledger.",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0),
            registry=registry,
        )
        for state in ("done", "failed", "cancelled"):
            self.images_settled.labels(state)  # present from the start, so that a rate over it is never "no data"

    def watch(self, read: Callable[[], Live]) -> None:
        """Ask `read` for the current values with each scrape; it is called from another thread."""
        self._registry.register(_LiveCollector(read))
