"""The worker's metrics, each declared once: names, labels and units are a contract with dashboards and rules."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from muniflow.compute.groups import GroupResult

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
WAIT_SECONDS = (0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
GROUP_TASKS = (1, 2, 4, 8, 16, 32)


class WorkerMetrics:
    """All metrics of one worker."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them."""
        self.step_seconds = Histogram(
            "muniflow_step_seconds",
            "Compute time of one step in one task, without I/O.",
            ["step"],
            buckets=SECONDS,
            registry=registry,
        )
        self.load_seconds = Histogram(
            "muniflow_load_seconds",
            "Time to read and decode the input of one task.",
            ["step"],
            buckets=SECONDS,
            registry=registry,
        )
        self.store_seconds = Histogram(
            "muniflow_store_seconds",
            "Time to encode and write what one task made.",
            ["step"],
            buckets=SECONDS,
            registry=registry,
        )
        self.task_seconds = Histogram(
            "muniflow_task_seconds",
            "Time of one task in a compute child: load, compute, store.",
            ["step"],
            buckets=SECONDS,
            registry=registry,
        )
        self.wait_seconds = Histogram(
            "muniflow_wait_seconds",
            "Time from publishing a task to its delivery.",
            ["step"],
            buckets=WAIT_SECONDS,
            registry=registry,
        )
        self.group_tasks = Histogram(
            "muniflow_group_tasks",
            "Tasks that a compute child got at a time.",
            buckets=GROUP_TASKS,
            registry=registry,
        )
        self.tasks = Counter(
            "muniflow_tasks",
            "Tasks by what became of them: done, retry, failed.",
            ["step", "outcome"],
            registry=registry,
        )
        self.images = Counter(
            "muniflow_step_images", "Images and tiles that went into a step.", ["step"], registry=registry
        )
        self.pixels = Counter("muniflow_step_pixels", "Pixels that went into a step.", ["step"], registry=registry)
        self.malformed = Counter(
            "muniflow_malformed_messages",
            "Messages that are no tasks, given to the dead-letter queue.",
            registry=registry,
        )
        self.child_deaths = Counter("muniflow_child_deaths", "Compute children that died at work.", registry=registry)
        self.publish_problems = Counter(
            "muniflow_publish_problems", "Groups that had to be published again.", registry=registry
        )
        self.connections_lost = Counter(
            "muniflow_connections_lost", "Connections to the broker that were lost.", registry=registry
        )
        self.connected = Gauge("muniflow_connected", "1 while connected to the broker.", registry=registry)
        self.held = Gauge("muniflow_tasks_held", "Tasks delivered and not settled.", registry=registry)
        self.prefetch = Gauge("muniflow_prefetch", "Deliveries that may be unsettled.", ["step"], registry=registry)

    def observe(self, result: GroupResult) -> None:
        """Count a group that a child finished."""
        self.group_tasks.observe(len(result.tasks))
        for task in result.tasks:
            self.tasks.labels(task.op, task.fate).inc()
            if task.seconds:
                self.task_seconds.labels(task.op).observe(task.seconds)
        for measure in result.measures:
            if measure.images:
                self.step_seconds.labels(measure.op).observe(measure.compute_s)
                self.images.labels(measure.op).inc(measure.images)
                self.pixels.labels(measure.op).inc(measure.pixels)
            if measure.load_s:
                self.load_seconds.labels(measure.op).observe(measure.load_s)
            if measure.store_s:
                self.store_seconds.labels(measure.op).observe(measure.store_s)
