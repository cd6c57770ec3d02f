"""Pipeline: which stage holds a municipality back, why, since when, and when it will be done."""

from deploy.grafana.generator.panels import (
    NAMESPACE,
    OWNERS,
    RATE,
    STEP,
    Page,
    Panel,
    Query,
    Row,
    links_of_step,
    quantiles,
    stat,
)

PLACES = range(1, 9)
"""Of stages in the flow; later ones, and those of which no batch runs, come after them."""
BACKLOG = f"muniflow:stage_backlog_messages{{{NAMESPACE}}}"
PLACE = "muniflow_stage_place{{{}}}"


def at_place(place: int) -> Query:
    """The backlog of the stage at one place: the queries of a panel are shown in their order."""
    there = PLACE.format(f'{NAMESPACE},place="{place}"')
    return Query(f"{BACKLOG} * on (namespace, step) group_left () max by (namespace, step) ({there})", "{{step}}")


FLOW = Row(
    "Backlog",
    (
        Panel(
            "Backlog of each stage, in the order of the flow",
            "bars",
            "short",
            "Tasks that wait or are worked on, express ones too. The longest bar is where work piles up; a click leads "
            "to the failures and the workers of its stage.",
            (
                *map(at_place, PLACES),
                Query(f"{BACKLOG} unless on (namespace, step) {PLACE.format(NAMESPACE)}", "{{step}}"),
            ),
            width=24,
            links=links_of_step(),
        ),
    ),
)
TOP = Row(
    "Now",
    (
        stat(
            "Images to do",
            "short",
            f"sum(muniflow_images_pending{{{NAMESPACE}}})",
            "Accepted and not settled, of all batches.",
            width=3,
        ),
        stat(
            "Done in",
            "s",
            f"max(muniflow:eta_seconds{{{NAMESPACE}}})",
            "All accepted images, by the forecast. No value: a batch waits for something.",
            width=3,
        ),
        stat(
            "Throughput",
            "suffix: images/s",
            f"sum(muniflow:images_per_second{{{NAMESPACE}}})",
            "Images of all batches that come to their end.",
            width=3,
        ),
        stat(
            "Held back by",
            "s",
            f"topk(1, muniflow:stage_drain_seconds{{{NAMESPACE}}})",
            "The stage whose queue takes longest to drain. Give it replicas first.",
            legend="{{step}}",
            names=True,
            width=3,
        ),
        stat(
            "Oldest in flight",
            "s",
            f"max(muniflow_oldest_image_age_seconds{{{NAMESPACE}}})",
            "Since when something waits. Minutes are a busy stage; an hour is trouble.",
            width=3,
            good_below=3600,
        ),
        stat(
            "Batches held up",
            "short",
            f"sum(muniflow_batches_held{{{NAMESPACE}}})",
            "Batches that wait for broker, store or database; the dashboard Batches says for which.",
            width=3,
            good_below=1,
        ),
        stat(
            "Dead letters",
            "short",
            f"sum(muniflow:dead_letters{{{NAMESPACE}}})",
            "`muniflow dead list` says which and why.",
            width=3,
            good_below=1,
        ),
        stat(
            "Alerts",
            "short",
            f'count(ALERTS{{alertname=~"Muniflow.+",alertstate="firing",{NAMESPACE}}}) or vector(0)',
            "Alerts that fire; each has a section in docs/guides/operate.md.",
            width=3,
            good_below=1,
        ),
    ),
)
STAGES = Row(
    "All stages",
    (
        Panel(
            "Wanted replicas",
            "lines",
            "short",
            "What each stage should have so that every batch ends when it is due, and what runs. Stages scale on this.",
            (
                Query(f"max by (stage) (muniflow_stage_wanted_replicas{{{NAMESPACE}}})", "{{stage}} wanted"),
                Query(f"max by (stage) (muniflow_stage_running_replicas{{{NAMESPACE}}})", "{{stage}} running"),
            ),
            width=12,
        ),
        Panel(
            "Remaining work",
            "lines",
            "s",
            "Seconds that one compute child would need for all accepted images of the chosen municipalities, "
            "dispatched or not.",
            (Query(f"sum by (stage) (muniflow_owner_remaining_work_seconds{{{OWNERS}}})", "{{stage}}"),),
            width=12,
        ),
        Panel(
            "Time to drain",
            "lines",
            "s",
            "The highest line is the bottleneck.",
            (Query(f"muniflow:stage_drain_seconds{{{NAMESPACE}}}", "{{step}}"),),
            width=8,
            links=links_of_step(),
        ),
        Panel(
            "Images per second",
            "lines",
            "suffix: images/s",
            "Images and tiles that go into each step; a split makes more of them.",
            (Query(f"muniflow:stage_images_per_second{{{NAMESPACE}}}", "{{step}}"),),
            width=8,
            links=links_of_step(),
        ),
        Panel(
            "Megapixels per second",
            "lines",
            "suffix: MP/s",
            "Work done, whatever the size of the images.",
            (Query(f"muniflow:stage_megapixels_per_second{{{NAMESPACE}}}", "{{step}}"),),
            width=8,
        ),
    ),
)
STAGE = Row(
    "$step",
    (
        Panel(
            "Backlog",
            "lines",
            "short",
            "Tasks that wait or are worked on; those of the express lane are part of them.",
            (
                Query(f"muniflow:stage_backlog_messages{{{STEP}}}", "tasks"),
                Query(f"muniflow:stage_express_backlog_messages{{{STEP}}}", "of them express"),
            ),
            width=8,
        ),
        Panel(
            "Replicas",
            "lines",
            "short",
            "Workers that serve this stage, and the consumers that the broker sees: they agree, but for the moment "
            "in which a worker takes a new prefetch.",
            (
                Query(f"muniflow:stage_replicas{{{STEP}}}", "workers"),
                Query(f"muniflow:stage_consumers{{{STEP}}}", "consumers"),
            ),
            width=6,
            links=links_of_step("$step")[1:],
        ),
        Panel(
            "Utilisation",
            "lines",
            "percentunit",
            "Part of the time that compute children work. Low with a backlog: look at wait and store time.",
            (Query(f"muniflow:stage_utilisation_ratio{{{STEP}}}", "busy"),),
            width=5,
        ),
        Panel(
            "Rate",
            "lines",
            "suffix: tasks/s",
            "Tasks that come to their end.",
            (Query(f"muniflow:stage_tasks_per_second{{{STEP}}}", "tasks"),),
            width=5,
        ),
        Panel(
            "Service time",
            "stack",
            "s",
            "Where a task's time goes, on average: reading and decoding, computing, encoding and writing.",
            tuple(
                Query(
                    f"sum(rate(muniflow_{part}_seconds_sum{{{STEP}}}{RATE})) "
                    f"/ sum(rate(muniflow_{part}_seconds_count{{{STEP}}}{RATE}))",
                    legend,
                )
                for part, legend in (("load", "load"), ("step", "compute"), ("store", "store"))
            ),
            width=8,
        ),
        Panel(
            "Wait in the queue",
            "lines",
            "s",
            "From publishing to delivery.",
            quantiles("muniflow_wait_seconds", STEP),
            width=8,
        ),
        Panel(
            "Failures and retries",
            "lines",
            "suffix: /s",
            "Failed for good by kind, and tried again by what was away.",
            (
                Query(f"sum by (reason) (rate(muniflow_failures_total{{{STEP}}}{RATE}))", "failed: {{reason}}"),
                Query(f"sum by (reason) (rate(muniflow_retries_total{{{STEP}}}{RATE}))", "again: {{reason}}"),
            ),
            width=8,
            links=links_of_step("$step")[:1],
        ),
    ),
    repeat="step",
)
PAGE = Page(
    "pipeline",
    "muniflow / Pipeline",
    "Which stage holds a municipality back, why, since when, and when it will be done.",
    (FLOW, TOP, STAGES, STAGE),
    steps=True,
    owners=True,
)
