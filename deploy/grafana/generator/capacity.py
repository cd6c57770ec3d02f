"""Capacity: how much of what runs is used, and what the rest costs."""

from deploy.grafana.generator.panels import NAMESPACE, RATE, Page, Panel, Query, Row, stat

HPA = f'{NAMESPACE},horizontalpodautoscaler=~".*-step-.+"'
BUSY = f"sum(rate(muniflow_task_seconds_sum{{{NAMESPACE}}}{RATE}))"
CHILDREN = f"sum(muniflow_children{{{NAMESPACE}}})"

NOW = Row(
    "Now",
    (
        stat("Used", "percentunit", f"{BUSY} / {CHILDREN}", "Part of all compute children that work.", width=4),
        stat("Cores", "short", CHILDREN, "Compute children; each keeps one core busy.", width=4),
        stat("Idle cores", "short", f"sum(muniflow:idle_children{{{NAMESPACE}}})", "Children without work.", width=4),
        stat(
            "Idle, per day",
            "currencyUSD",
            f"sum(muniflow:idle_children{{{NAMESPACE}}}) * 24 * $price",
            "At the price of a core and hour given above; pick your own currency.",
            width=4,
        ),
        stat(
            "1,000 megapixels",
            "currencyUSD",
            f"1000 * {CHILDREN} * $price / 3600 / (sum(rate(muniflow_step_pixels_total{{{NAMESPACE}}}{RATE})) / 1e6)",
            "What they cost with all that runs, idle children included.",
            width=4,
        ),
        stat(
            "Children died",
            "short",
            f"sum(increase(muniflow_child_deaths_total{{{NAMESPACE}}}[1h]))",
            "In an hour. Many: the memory limit is too low for the images.",
            width=4,
            good_below=10,
        ),
    ),
)
USE = Row(
    "Use",
    (
        Panel(
            "Utilisation",
            "lines",
            "percentunit",
            "By stage. All low: fewer replicas. One at 100 %: that is the bottleneck.",
            (Query(f"muniflow:stage_utilisation_ratio{{{NAMESPACE}}}", "{{step}}"),),
            width=8,
        ),
        Panel(
            "Busy and idle",
            "stack",
            "short",
            "Compute children.",
            (Query(BUSY, "busy"), Query(f"sum(muniflow:idle_children{{{NAMESPACE}}})", "idle")),
            width=8,
        ),
        Panel(
            "Replicas",
            "stack",
            "short",
            "Workers by stage.",
            (Query(f"muniflow:stage_replicas{{{NAMESPACE}}}", "{{step}}"),),
            width=8,
        ),
        Panel(
            "Replicas and their limit",
            "lines",
            "short",
            "At the limit for long: raise `max`, or accept the wait.",
            (
                Query(f"kube_horizontalpodautoscaler_status_current_replicas{{{HPA}}}", "{{horizontalpodautoscaler}}"),
                Query(f"kube_horizontalpodautoscaler_spec_max_replicas{{{HPA}}}", "{{horizontalpodautoscaler}} limit"),
            ),
            width=8,
            foreign=True,
        ),
        Panel(
            "Seconds per megapixel",
            "lines",
            "s",
            "Compute alone, by step: the machine's speed, free of waiting.",
            (
                Query(
                    f"sum by (step) (rate(muniflow_step_seconds_sum{{{NAMESPACE}}}{RATE})) "
                    f"/ sum by (step) (rate(muniflow_step_pixels_total{{{NAMESPACE}}}{RATE})) * 1e6",
                    "{{step}}",
                ),
            ),
            width=8,
        ),
        Panel(
            "Store traffic",
            "lines",
            "Bps",
            "Read and written by all workers.",
            (
                Query(f"sum(rate(muniflow_load_bytes_total{{{NAMESPACE}}}{RATE}))", "read"),
                Query(f"sum(rate(muniflow_store_bytes_total{{{NAMESPACE}}}{RATE}))", "written"),
            ),
            width=8,
        ),
        Panel(
            "Tasks in hands",
            "lines",
            "short",
            "Delivered and not settled, and how many may be.",
            (
                Query(f"sum(muniflow_tasks_held{{{NAMESPACE}}})", "held"),
                Query(f"sum(muniflow_prefetch{{{NAMESPACE}}})", "prefetch"),
            ),
            width=8,
        ),
        Panel(
            "Group size",
            "lines",
            "short",
            "Tasks that a child gets at a time: many small ones, or one large one.",
            (
                Query(
                    f"sum(rate(muniflow_group_tasks_sum{{{NAMESPACE}}}{RATE})) "
                    f"/ sum(rate(muniflow_group_tasks_count{{{NAMESPACE}}}{RATE}))",
                    "tasks",
                ),
            ),
            width=8,
        ),
        Panel(
            "Workers by device and version",
            "stack",
            "short",
            "A mix of versions is an upgrade on its way.",
            (Query(f"sum by (device, version) (muniflow_worker_info{{{NAMESPACE}}})", "{{device}} {{version}}"),),
            width=8,
        ),
    ),
)
PAGE = Page(
    "capacity",
    "muniflow / Capacity",
    "How much of what runs is used, and what the rest costs.",
    (NOW, USE),
    prices=True,
)
