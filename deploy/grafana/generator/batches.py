"""Batches: progress, time to the end, throughput; what the gateway takes in; what the coordinator itself does."""

from deploy.grafana.generator.panels import NAMESPACE, OWNERS, RATE, Link, Page, Panel, Query, Row, quantiles, stat

NOW = Row(
    "Now",
    (
        stat(
            "Batches running",
            "short",
            f'sum(muniflow_batches{{{NAMESPACE},state="running"}})',
            "Their names, progress and ETA one by one: `muniflow status`, or the gateway's page.",
            width=4,
        ),
        stat(
            "Last batch done in",
            "s",
            f"max(muniflow_slowest_batch_eta_seconds{{{NAMESPACE}}})",
            "The slowest of the running batches, by the forecast. No value: a batch waits for something.",
            width=4,
        ),
        stat(
            "Oldest batch",
            "s",
            f"max(muniflow_oldest_batch_age_seconds{{{NAMESPACE}}})",
            "Time since it was submitted.",
            width=4,
        ),
        stat("Images to do", "short", f"sum(muniflow_images_pending{{{NAMESPACE}}})", "Not settled.", width=4),
        stat(
            "In flight",
            "percentunit",
            f"sum(muniflow_images_in_flight{{{NAMESPACE}}}) / sum(muniflow_window_images{{{NAMESPACE}}} > 0)",
            "Part of the window in use. Full is normal under load; the window follows the fleet.",
            width=4,
        ),
        stat(
            "Leaders",
            "short",
            f"sum(muniflow_leader{{{NAMESPACE}}})",
            "One. None: nothing is taken in or completed.",
            width=4,
        ),
    ),
)
FLOW = Row(
    "Progress",
    (
        Panel(
            "Images settled",
            "stack",
            "suffix: images/s",
            "By how they ended.",
            (Query(f"sum by (state) (rate(muniflow_images_settled_total{{{NAMESPACE}}}{RATE}))", "{{state}}"),),
            width=8,
        ),
        Panel(
            "Images to do",
            "lines",
            "short",
            "A straight way down is a steady pipeline.",
            (
                Query(f"sum(muniflow_images_pending{{{NAMESPACE}}})", "not settled"),
                Query(f"sum(muniflow_images_in_flight{{{NAMESPACE}}})", "in flight"),
            ),
            width=8,
        ),
        Panel(
            "Time to the end",
            "lines",
            "s",
            "Of the slowest batch, by the forecast; a gap where a batch waits for something.",
            (Query(f"max(muniflow_slowest_batch_eta_seconds{{{NAMESPACE}}})", "slowest batch"),),
            width=8,
        ),
        Panel(
            "Batches",
            "stack",
            "short",
            "Taken in, running, writing their report.",
            (Query(f"sum by (state) (muniflow_batches{{{NAMESPACE}}})", "{{state}}"),),
        ),
        Panel(
            "Batches that wait",
            "stack",
            "short",
            "For something other than compute, by what it is.",
            (Query(f"sum by (cause) (muniflow_batches_held{{{NAMESPACE}}})", "{{cause}}"),),
        ),
        Panel(
            "Batches ended",
            "stack",
            "short",
            "In the time shown, by how they ended.",
            (Query(f"sum by (state) (increase(muniflow_batches_ended_total{{{NAMESPACE}}}[$__range]))", "{{state}}"),),
        ),
        Panel(
            "From submission to the end",
            "lines",
            "s",
            "Of batches that ended.",
            quantiles("muniflow_batch_seconds"),
        ),
        Panel(
            "Actual over forecast",
            "lines",
            "suffix: times",
            "Time that batches took over p50 of their forecast; 1 is right.",
            quantiles("muniflow_forecast_ratio"),
        ),
        Panel(
            "Forecasts within p90",
            "lines",
            "percentunit",
            "Of the last 50 graded; 90 % is right, an alert below 80 %.",
            (Query(f"max(muniflow_forecast_coverage_ratio{{{NAMESPACE}}})", "within p90"),),
        ),
    ),
)
ITS_STAGES = (Link("Its stages", "pipeline", (("owner", "${__field.labels.owner}"),)),)
"""No metric names a batch: there are too many. From a municipality's batches a click leads to their stages."""
BY_OWNER = Row(
    "Municipalities",
    (
        Panel(
            "Images to do",
            "stack",
            "short",
            "Of the batches of each municipality; a click leads to their stages.",
            (Query(f"sum by (owner) (muniflow_owner_images_pending{{{OWNERS}}})", "{{owner}}"),),
            width=8,
            links=ITS_STAGES,
        ),
        Panel(
            "Images settled",
            "stack",
            "suffix: images/s",
            "How the stages are shared.",
            (Query(f"sum by (owner) (rate(muniflow_owner_images_settled_total{{{OWNERS}}}{RATE}))", "{{owner}}"),),
            width=8,
            links=ITS_STAGES,
        ),
        Panel(
            "Time to the end",
            "lines",
            "s",
            "Of the slowest batch of each, by the forecast; a gap where one waits for something.",
            (Query(f"max by (owner) (muniflow_owner_eta_seconds{{{OWNERS}}})", "{{owner}}"),),
            width=8,
            links=ITS_STAGES,
        ),
        Panel(
            "Batches",
            "stack",
            "short",
            "That have not ended.",
            (Query(f"sum by (owner) (muniflow_owner_batches{{{OWNERS}}})", "{{owner}}"),),
            width=8,
            links=ITS_STAGES,
        ),
        Panel(
            "Remaining work by stage",
            "stack",
            "s",
            "Seconds that one compute child would need for the batches of the chosen municipalities.",
            (Query(f"sum by (stage) (muniflow_owner_remaining_work_seconds{{{OWNERS}}})", "{{stage}}"),),
            width=8,
            links=(Link("All of its stages", "pipeline", (("", "${owner:queryparam}"),)),),
        ),
        Panel(
            "Images failed",
            "stack",
            "suffix: images/s",
            "By municipality. `muniflow dead list --owner …` names them.",
            (
                Query(
                    f'sum by (owner) (rate(muniflow_owner_images_settled_total{{{OWNERS},state="failed"}}{RATE}))',
                    "{{owner}}",
                ),
            ),
            width=8,
            links=(Link("Failures", "failures"),),
        ),
    ),
)
API = f'{NAMESPACE},route!~"/livez|/readyz"'
GATEWAY = Row(
    "Gateway",
    (
        Panel(
            "Requests",
            "stack",
            "suffix: /s",
            "By status. 4xx is the client's part, 5xx ours.",
            (Query(f"sum by (status) (rate(muniflow_gateway_requests_total{{{API}}}{RATE}))", "{{status}}"),),
        ),
        Panel(
            "Time to answer",
            "lines",
            "s",
            "95 % of the answers begin within it, by route; the client's sending is part of it.",
            (
                Query(
                    "histogram_quantile(0.95, sum by (le, method, route) "
                    f"(rate(muniflow_gateway_request_seconds_bucket{{{API}}}{RATE}))) >= 0",
                    "{{method}} {{route}}",
                ),
            ),
        ),
        Panel(
            "Not served",
            "stack",
            "suffix: /s",
            "By reason: the client's part (`key`, `quota_…`, `invalid`, …) or ours (`busy`, `backlog`, `broker`, …).",
            (Query(f"sum by (reason) (rate(muniflow_gateway_refusals_total{{{NAMESPACE}}}{RATE})) > 0", "{{reason}}"),),
        ),
        Panel(
            "Errors",
            "lines",
            "percentunit",
            "Part of the requests of a quarter of an hour that got a 5xx; an alert above 5 %.",
            (Query(f"muniflow:gateway_error_ratio{{{NAMESPACE}}}", "errors"),),
        ),
        Panel(
            "Uploads",
            "lines",
            "Bps",
            "What clients send, refused or not.",
            (Query(f"sum(muniflow:gateway_upload_bytes_per_second{{{NAMESPACE}}})", "uploaded"),),
            width=8,
        ),
        Panel(
            "Taken in",
            "lines",
            "suffix: /s",
            "Batches that are durable, and the images that came with them.",
            (
                Query(f"sum(rate(muniflow_gateway_batches_total{{{NAMESPACE}}}{RATE}))", "batches"),
                Query(f"sum(rate(muniflow_gateway_upload_files_total{{{NAMESPACE}}}{RATE}))", "images"),
            ),
            width=8,
        ),
        Panel(
            "Open now",
            "lines",
            "short",
            "Forms that are coming in, and pages that look on.",
            (
                Query(f"sum(muniflow_gateway_uploads{{{NAMESPACE}}})", "uploads"),
                Query(f"sum(muniflow_gateway_event_streams{{{NAMESPACE}}})", "event streams"),
            ),
            width=8,
        ),
    ),
)
COORDINATOR = Row(
    "Coordinator",
    (
        Panel(
            "Events lag",
            "lines",
            "s",
            "From a worker's report to its transaction in the ledger.",
            quantiles("muniflow_events_lag_seconds"),
        ),
        Panel(
            "Ledger transaction",
            "lines",
            "s",
            "Above 0.1 s the volume or the database is slow.",
            quantiles("muniflow_ledger_commit_seconds"),
        ),
        Panel(
            "Dispatched",
            "lines",
            "suffix: images/s",
            "First and again; again means that messages were lost.",
            (
                Query(f"sum(rate(muniflow_images_dispatched_total{{{NAMESPACE}}}{RATE}))", "dispatched"),
                Query(f"sum(rate(muniflow_images_redispatched_total{{{NAMESPACE}}}{RATE}))", "again"),
            ),
        ),
        Panel(
            "Clean-up waiting",
            "lines",
            "short",
            "Images whose intermediates wait for removal.",
            (Query(f"sum(muniflow_cleanup_waiting{{{NAMESPACE}}})", "images"),),
        ),
    ),
)
PAGE = Page(
    "batches",
    "muniflow / Batches",
    "How far the municipalities' batches are, and when they end.",
    (NOW, FLOW, BY_OWNER, GATEWAY, COORDINATOR),
    owners=True,
)
