"""Broker: RabbitMQ as muniflow uses it. Only names that RabbitMQ 3.10, 4.0 and 4.3 all have."""

from deploy.grafana.generator.panels import NAMESPACE, RATE, Page, Panel, Query, Row, quantiles, stat

QUEUES = f'{NAMESPACE},queue=~"muniflow[.].+"'


def by_queue(what: str) -> Query:
    """A queue's number, said by its leader only."""
    return Query(f"max by (queue) (rabbitmq_detailed_queue_{what}{{{QUEUES}}})", "{{queue}}")


HEALTH = Row(
    "Health",
    (
        stat(
            "Alarms",
            "short",
            f"sum(rabbitmq_alarms_memory_used_watermark{{{NAMESPACE}}}) "
            f"+ sum(rabbitmq_alarms_free_disk_space_watermark{{{NAMESPACE}}})",
            "Memory or disk: publishers wait until it is over. Nothing is lost.",
            width=4,
            good_below=1,
        ),
        stat(
            "Memory",
            "percentunit",
            f"max(rabbitmq_process_resident_memory_bytes{{{NAMESPACE}}} "
            f"/ rabbitmq_resident_memory_limit_bytes{{{NAMESPACE}}})",
            "Of the limit at which the alarm goes off.",
            width=4,
            good_below=0.8,
        ),
        stat(
            "Disk above its limit",
            "bytes",
            f"min(rabbitmq_disk_space_available_bytes{{{NAMESPACE}}} "
            f"- rabbitmq_disk_space_available_limit_bytes{{{NAMESPACE}}})",
            "At zero the alarm goes off.",
            width=4,
        ),
        stat(
            "Connections",
            "short",
            f"sum(rabbitmq_connections{{{NAMESPACE}}})",
            "Two for each of our processes.",
            width=4,
        ),
        stat(
            "Not connected",
            "short",
            f"count(muniflow_connected{{{NAMESPACE}}} == 0) or vector(0)",
            "Processes of ours without a broker; a standby coordinator is one on purpose.",
            width=4,
        ),
        stat(
            "Blocked",
            "short",
            f"sum(muniflow_blocked{{{NAMESPACE}}})",
            "Processes of ours that the broker lets wait.",
            width=4,
            good_below=1,
        ),
    ),
)
DEPTHS = Row(
    "Queues",
    (
        Panel("Ready", "lines", "short", "Messages that wait for a consumer.", (by_queue("messages_ready"),), width=8),
        Panel("Unacked", "lines", "short", "Messages in somebody's hands.", (by_queue("messages_unacked"),), width=8),
        Panel(
            "Consumers",
            "lines",
            "short",
            "By queue; none on a stage: its tasks wait.",
            (by_queue("consumers"),),
            width=8,
        ),
        Panel(
            "Dead letters",
            "lines",
            "short",
            "By queue; `muniflow dead list`.",
            (Query(f"muniflow:dead_letters{{{NAMESPACE}}}", "{{queue}}"),),
            width=8,
        ),
        Panel(
            "Delayed",
            "lines",
            "short",
            "Tasks that wait to be tried again.",
            (
                Query(
                    f'max by (queue) (rabbitmq_detailed_queue_messages{{{NAMESPACE},queue=~"muniflow[.]retry[.].+"}})',
                    "{{queue}}",
                ),
            ),
            width=8,
        ),
        Panel(
            "Delivered again",
            "lines",
            "suffix: /s",
            "After a lost connection or a worker that died. Harmless, but work.",
            (
                Query(
                    f'sum by (step) (rate(muniflow_deliveries_total{{{NAMESPACE},redelivered="true"}}{RATE})) '
                    f"or 0 * sum by (step) (rate(muniflow_deliveries_total{{{NAMESPACE}}}{RATE}))",
                    "{{step}}",
                ),
            ),
            width=8,
        ),
    ),
)
TRAFFIC = Row(
    "Traffic",
    (
        Panel(
            "Messages",
            "lines",
            "suffix: /s",
            "Published, confirmed, delivered, acknowledged.",
            tuple(
                Query(f"sum(rate(rabbitmq_global_messages_{name}_total{{{NAMESPACE}}}{RATE}))", legend)
                for name, legend in (
                    ("received", "published"),
                    ("confirmed", "confirmed"),
                    ("delivered_consume_manual_ack", "delivered"),
                    ("acknowledged", "acknowledged"),
                )
            ),
            width=8,
        ),
        Panel(
            "Confirm",
            "lines",
            "s",
            "From publishing a group to its last confirm.",
            quantiles("muniflow_confirm_seconds"),
            width=8,
        ),
        Panel(
            "Trouble",
            "lines",
            "suffix: /s",
            "Connections lost, groups published again, messages that nobody can read.",
            (
                Query(f"sum(rate(muniflow_connections_lost_total{{{NAMESPACE}}}{RATE}))", "connections lost"),
                Query(f"sum(rate(muniflow_publish_problems_total{{{NAMESPACE}}}{RATE}))", "published again"),
                Query(f"sum(rate(muniflow_malformed_messages_total{{{NAMESPACE}}}{RATE})) or vector(0)", "malformed"),
            ),
            width=8,
        ),
    ),
)
PAGE = Page("broker", "muniflow / Broker", "RabbitMQ as muniflow uses it.", (HEALTH, DEPTHS, TRAFFIC))
