"""Failures: what failed in the chosen stages, why, since when, and what is tried again."""

from deploy.grafana.generator.panels import RATE, STEPS, Link, Page, Panel, Query, Row, stat

WORKERS = (Link("Workers of the stages", "workers", (("", "${step:queryparam}"),)),)
NOW = Row(
    "Now",
    (
        stat(
            "To be replayed",
            "short",
            f"sum(muniflow_failures{{{STEPS}}}) or vector(0)",
            "Failed images: `muniflow dead list --stage …`, by reason `muniflow dead reasons`.",
            width=8,
            good_below=1,
        ),
        stat(
            "Failure ratio",
            "percentunit",
            f"max(muniflow:stage_failure_ratio{{{STEPS}}})",
            "Of the tasks of a quarter of an hour, in the worst of these stages.",
            width=8,
            good_below=0.05,
        ),
        stat(
            "Tried again",
            "suffix: /s",
            f"sum(rate(muniflow_retries_total{{{STEPS}}}{RATE}))",
            "Tasks that wait in a delay queue, because a store or a broker was away.",
            width=8,
        ),
    ),
)
WHY = Row(
    "Why",
    (
        Panel(
            "To be replayed, by reason",
            "stack",
            "short",
            "By reason code (docs/reference/report.md); `muniflow dead replay --stage … --reason-code …` runs "
            "one group again.",
            (Query(f"sum by (reason_code) (muniflow_failures{{{STEPS}}})", "{{reason_code}}"),),
            width=12,
            links=WORKERS,
        ),
        Panel(
            "To be replayed, by stage",
            "stack",
            "short",
            "A step names the image that it could not read, or the stage that lost it.",
            (Query(f"sum by (step) (muniflow_failures{{{STEPS}}})", "{{step}}"),),
            width=12,
            links=WORKERS,
        ),
        Panel(
            "Failing now",
            "lines",
            "suffix: /s",
            "Tasks that fail for good, by stage and kind.",
            (Query(f"sum by (step, reason) (rate(muniflow_failures_total{{{STEPS}}}{RATE}))", "{{step}}: {{reason}}"),),
            width=12,
        ),
        Panel(
            "Tried again now",
            "lines",
            "suffix: /s",
            "By stage, and by what was away.",
            (Query(f"sum by (step, reason) (rate(muniflow_retries_total{{{STEPS}}}{RATE}))", "{{step}}: {{reason}}"),),
            width=12,
        ),
    ),
)
PAGE = Page("failures", "muniflow / Failures", "What failed in which stage, and why.", (NOW, WHY), steps=True)
