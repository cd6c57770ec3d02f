"""Metrics of the connection to the broker, the same in every process that has one."""

from muniflow.runtime.metrics import counter, gauge, histogram

CONFIRM_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0)

CONFIRM = histogram(
    "muniflow_confirm_seconds",
    "Time from publishing a group of messages to the broker's last confirm.",
    buckets=CONFIRM_SECONDS,
)
CONNECTIONS_LOST = counter("muniflow_connections_lost", "Connections to the broker that were lost.")
CONNECTED = gauge("muniflow_connected", "1 while connected to the broker.")
BLOCKED = gauge("muniflow_blocked", "1 while the broker takes no messages: a memory or disk alarm.")
