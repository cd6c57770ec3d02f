"""Workers: each process that serves the chosen stages, one line for each."""

from deploy.grafana.generator.panels import RATE, STEPS, Link, Page, Panel, Query, Row

FAILURES = (Link("Failures of the stages", "failures", (("", "${step:queryparam}"),)),)
SERVING = f"group by (namespace, job, instance) (muniflow_prefetch{{{STEPS}}})"
"""The workers of the chosen stages."""


def of_workers(expr: str) -> Query:
    """A number of each worker of these stages."""
    return Query(f"{expr} * on (namespace, job, instance) group_left () {SERVING}", "{{instance}}")


LOAD = Row(
    "Load",
    (
        Panel(
            "Utilisation",
            "lines",
            "percentunit",
            "Part of the time that its compute children work. One far below the others has a slow node or store.",
            (of_workers('muniflow:worker_utilisation_ratio{namespace=~"$namespace"}'),),
            width=12,
        ),
        Panel(
            "Tasks",
            "stack",
            "suffix: tasks/s",
            "That come to their end, by worker.",
            (Query(f"sum by (instance) (rate(muniflow_tasks_total{{{STEPS}}}{RATE}))", "{{instance}}"),),
            width=12,
            links=FAILURES,
        ),
        Panel(
            "Mean time of a task",
            "lines",
            "s",
            "By worker: load, compute and store.",
            (
                Query(
                    f"sum by (instance) (rate(muniflow_task_seconds_sum{{{STEPS}}}{RATE})) "
                    f"/ sum by (instance) (rate(muniflow_task_seconds_count{{{STEPS}}}{RATE}))",
                    "{{instance}}",
                ),
            ),
            width=12,
        ),
        Panel(
            "Connected",
            "lines",
            "short",
            "1 while it has its connections to the broker.",
            (of_workers('muniflow_connected{namespace=~"$namespace"}'),),
            width=12,
        ),
    ),
)
PAGE = Page("workers", "muniflow / Workers", "Who works in which stage, and how well.", (LOAD,), steps=True)
