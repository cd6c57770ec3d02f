"""How a metric is declared: once, with all that its documentation, its tests and Prometheus need to know.

A process makes its metrics from such entries; `docs/reference/metrics.md` is written from the same ones. Labels are
bounded: what grows with the work (a batch, an image, a municipality) is never one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily

Kind = Literal["counter", "gauge", "histogram"]

LABELS: Mapping[str, str] = {
    "cause": "what work waits for: one of a handful of words",
    "device": "where pixels are computed: `cpu` or `opencl`",
    "method": "HTTP method; `other` for rare ones",
    "operations": "all operations that the process carries, joined by `+`",
    "outcome": "`done`, `retry`, `failed`",
    "owner": "who sent a batch: the first 50 since the start, all later ones together as `(others)`",
    "place": "1 for the first, at most as many as there are operations",
    "queue": "name of a queue of ours",
    "reason": "a kind, never a text: see the metric",
    "reason_code": "one of `muniflow.reason_codes`; of webhooks, one of their guide",
    "redelivered": "`true` when the broker has delivered the message before",
    "route": "a path of the HTTP API as its template, such as `/v1/batches/{batch_id}`; `other` for what is none",
    "stage": "name of a stage: a Deployment of workers",
    "state": "a state of a batch or an image",
    "status": "HTTP status",
    "step": "name of an operation",
    "version": "version of muniflow",
}
"""Every label there is, and what its values are."""


@dataclass(frozen=True)
class Metric:
    """One metric."""

    name: str
    """As Prometheus shows it, but without `_total`, `_bucket`, `_sum`, `_count`."""
    kind: Kind
    text: str
    """What it counts or measures, in a sentence; the unit is in the name."""
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds, for a histogram."""

    def __post_init__(self) -> None:
        if unknown := set(self.labels) - LABELS.keys():
            raise ValueError(f"{self.name}: labels that are not in LABELS: {sorted(unknown)}")
        if bool(self.buckets) != (self.kind == "histogram"):
            raise ValueError(f"{self.name}: buckets belong to histograms")

    @property
    def series(self) -> str:
        """The name of its main series in a scrape."""
        return self.name + {"counter": "_total", "gauge": "", "histogram": "_count"}[self.kind]

    def counter(self, registry: CollectorRegistry) -> Counter:
        """Make it."""
        return Counter(self.name, self.text, self.labels, registry=registry)

    def gauge(self, registry: CollectorRegistry) -> Gauge:
        """Make it."""
        return Gauge(self.name, self.text, self.labels, registry=registry)

    def histogram(self, registry: CollectorRegistry) -> Histogram:
        """Make it."""
        return Histogram(self.name, self.text, self.labels, buckets=self.buckets, registry=registry)

    def family(self, values: Mapping[tuple[str, ...], float] | float) -> GaugeMetricFamily:
        """A gauge that is measured when it is asked for: one value, or one for each set of label values."""
        made = GaugeMetricFamily(self.name, self.text, labels=self.labels)
        for labels, value in values.items() if isinstance(values, Mapping) else [((), values)]:
            made.add_metric(labels, value)
        return made


def counter(name: str, text: str, *labels: str) -> Metric:
    """A count since the start of the process."""
    return Metric(name, "counter", text, labels)


def gauge(name: str, text: str, *labels: str) -> Metric:
    """A value now."""
    return Metric(name, "gauge", text, labels)


def histogram(name: str, text: str, *labels: str, buckets: Iterable[float]) -> Metric:
    """How values are spread."""
    return Metric(name, "histogram", text, labels, tuple(buckets))


def metrics_of(module: ModuleType) -> tuple[Metric, ...]:
    """Every entry that a module declares or takes over, in its order."""
    return tuple(value for value in vars(module).values() if isinstance(value, Metric))
