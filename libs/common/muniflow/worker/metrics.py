"""The worker's metrics, each declared once: names, labels and units are a contract with dashboards and rules.

`tools/metrics-docs` writes `docs/reference/metrics.md` from these entries, the coordinator's and the gateway's.
"""

from collections import defaultdict
from typing import TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Histogram

from muniflow import __version__
from muniflow.compute.groups import GroupResult
from muniflow.runtime.broker_metrics import BLOCKED, CONFIRM, CONNECTED, CONNECTIONS_LOST
from muniflow.runtime.metrics import counter, gauge, histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
WAIT_SECONDS = (0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
GROUP_TASKS = (1, 2, 4, 8, 16, 32, 64)
Labelled = TypeVar("Labelled", Counter, Histogram)

INFO = gauge(
    "muniflow_worker_info",
    "Always 1; its labels say what this worker is.",
    "operations", "device", "version",
)  # fmt: skip
DELIVERIES = counter("muniflow_deliveries", "Tasks delivered by the broker.", "step", "redelivered")
WAIT = histogram(
    "muniflow_wait_seconds",
    "Time from publishing a task to its delivery; for a retry from the end of its delay.",
    "step",
    buckets=WAIT_SECONDS,
)
TASKS = counter("muniflow_tasks", "Tasks by what became of them.", "step", "outcome")
RETRIES = counter(
    "muniflow_retries",
    "Tasks published again for later; the reason is the part that was away: `blob store`, `compute child`, "
    "`OpenCL device`, `verify key`.",
    "step", "reason",
)  # fmt: skip
FAILURES = counter(
    "muniflow_failures",
    "Tasks that failed for good, wholly or in part, by kind: `rejected` (not an image, a limit, parameters), `missing` "
    "(input gone), `away` (given up after the last attempt), `memory`, `timeout`, `crash`, `bug`; "
    "`foreign`: the coordinator did not make the task so, and it settles nothing.",
    "step", "reason",
)  # fmt: skip
DEAD_LETTERS = counter(
    "muniflow_dead_letters",
    "Forged tasks that were kept in the dead-letter queue; of other failures events tell.",
    "step",
)
MALFORMED = counter(
    "muniflow_malformed_messages", "Messages that could not be read, given to the dead-letter queue.", "queue"
)
TASK = histogram(
    "muniflow_task_seconds", "Time of one task in a compute child: load, compute, store.", "step", buckets=SECONDS
)
STEP = histogram("muniflow_step_seconds", "Compute time of one step in one task, without I/O.", "step", buckets=SECONDS)
LOAD = histogram("muniflow_load_seconds", "Time to read and decode the input of a task.", "step", buckets=SECONDS)
STORE = histogram("muniflow_store_seconds", "Time to encode and write what a task made.", "step", buckets=SECONDS)
IMAGES = counter("muniflow_step_images", "Images and tiles that went into a step.", "step")
PIXELS = counter("muniflow_step_pixels", "Pixels that went into a step.", "step")
LOAD_BYTES = counter("muniflow_load_bytes", "Bytes read from the source and work stores.", "step")
STORE_BYTES = counter("muniflow_store_bytes", "Bytes written to the work and output stores.", "step")
GROUP = histogram("muniflow_group_tasks", "Tasks that a compute child got at a time.", buckets=GROUP_TASKS)
HELD = gauge("muniflow_tasks_held", "Tasks delivered and not settled: in flight here.")
PREFETCH = gauge(
    "muniflow_prefetch",
    "Deliveries that may be unsettled, beside those of express tasks; one series for each stage served.",
    "step",
)
CHILDREN = gauge("muniflow_children", "Compute children: tasks that can be computed at a time.")
CHILD_DEATHS = counter("muniflow_child_deaths", "Compute children that died at work.")
PUBLISH_PROBLEMS = counter("muniflow_publish_problems", "Groups of messages that had to be published again.")


class WorkerMetrics:
    """All metrics of one worker."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them."""
        self._kept: dict[tuple[object, tuple[str, ...]], object] = {}
        self._info = INFO.gauge(registry)
        self.deliveries = DELIVERIES.counter(registry)
        self.wait_seconds = WAIT.histogram(registry)
        self.tasks = TASKS.counter(registry)
        self.retries = RETRIES.counter(registry)
        self.failures = FAILURES.counter(registry)
        self.dead_letters = DEAD_LETTERS.counter(registry)
        self.malformed = MALFORMED.counter(registry)
        self.task_seconds = TASK.histogram(registry)
        self.step_seconds = STEP.histogram(registry)
        self.load_seconds = LOAD.histogram(registry)
        self.store_seconds = STORE.histogram(registry)
        self.images = IMAGES.counter(registry)
        self.pixels = PIXELS.counter(registry)
        self.load_bytes = LOAD_BYTES.counter(registry)
        self.store_bytes = STORE_BYTES.counter(registry)
        self.group_tasks = GROUP.histogram(registry)
        self.held = HELD.gauge(registry)
        self.prefetch = PREFETCH.gauge(registry)
        self.children = CHILDREN.gauge(registry)
        self.child_deaths = CHILD_DEATHS.counter(registry)
        self.confirm_seconds = CONFIRM.histogram(registry)
        self.publish_problems = PUBLISH_PROBLEMS.counter(registry)
        self.connections_lost = CONNECTIONS_LOST.counter(registry)
        self.connected = CONNECTED.gauge(registry)
        self.blocked = BLOCKED.gauge(registry)

    def describe(self, operations: tuple[str, ...], children: int, device: str = "cpu") -> None:
        """Say what this worker is; its counters are there from now on, so that a rate over them is never "no data"."""
        self._info.labels("+".join(operations), device, __version__).set(1)
        self.children.set(children)
        for operation in operations:
            self.dead_letters.labels(operation)
            self.deliveries.labels(operation, "false")
            for outcome in ("done", "retry", "failed"):
                self.tasks.labels(operation, outcome)

    def delivered(self, step: str, wait_s: float | None, *, redelivered: bool) -> None:
        """Count a delivery; `wait_s` is its time in the queue, where that is known."""
        self._one(self.deliveries, step, "true" if redelivered else "false").inc()
        if wait_s is not None:
            self._one(self.wait_seconds, step).observe(max(wait_s, 0.0))

    def observe(self, result: GroupResult) -> None:
        """Count a group that a child finished."""
        self.group_tasks.observe(len(result.tasks))
        counts: dict[tuple[Counter, tuple[str, ...]], float] = defaultdict(
            float
        )  # one `inc` for a group, not for a task
        for task in result.tasks:
            counts[self.tasks, (task.op, task.disposition)] += 1
            if task.seconds:
                self._one(self.task_seconds, task.op).observe(task.seconds)
            if task.disposition == "failed":
                counts[self.failures, (task.op, task.kind)] += 1
                counts[self.dead_letters, (task.op,)] += task.kept
            elif task.disposition == "retry":
                counts[self.retries, (task.op, task.kind)] += 1
        for measure in result.measures:
            step = (measure.op,)
            if measure.done:
                self._one(self.step_seconds, measure.op).observe(measure.compute_s)
                counts[self.images, step] += measure.done
                counts[self.pixels, step] += measure.pixels
            if measure.load_s:
                self._one(self.load_seconds, measure.op).observe(measure.load_s)
                counts[self.load_bytes, step] += measure.load_bytes
            if measure.store_s:
                self._one(self.store_seconds, measure.op).observe(measure.store_s)
                counts[self.store_bytes, step] += measure.store_bytes
        for (metric, labels), amount in counts.items():
            metric.labels(*labels).inc(amount)

    def _one(self, metric: Labelled, *labels: str) -> Labelled:
        """`metric.labels(…)`, looked up once: the client library takes a lock and makes texts of them each time."""
        kept = self._kept.get((metric, labels))
        if kept is None:
            kept = self._kept[metric, labels] = metric.labels(*labels)
        return cast("Labelled", kept)
