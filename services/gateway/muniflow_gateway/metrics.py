"""The gateway's metrics, each declared once. No label holds the name of a key, an address or a path as it came."""

from prometheus_client import CollectorRegistry

from muniflow.runtime.broker_metrics import BLOCKED, CONFIRM, CONNECTED, CONNECTIONS_LOST
from muniflow.runtime.metrics import counter, gauge, histogram
from muniflow_gateway.problems import REASONS

METHODS = frozenset({"GET", "POST", "DELETE", "HEAD", "OPTIONS"})
REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0)

REQUESTS = counter("muniflow_gateway_requests", "Answers by method, route and status.", "method", "route", "status")
REQUEST = histogram(
    "muniflow_gateway_request_seconds",
    "Time from the head of a request to the head of its answer: with what the client sends, without what it is sent.",
    "method", "route",
    buckets=REQUEST_SECONDS,
)  # fmt: skip
REFUSALS = counter(
    "muniflow_gateway_refusals",
    "Requests that were not served. The client's part: `key`, `origin`, `scope`, `quota_requests`, `quota_bytes`, "
    "`quota_pixels`, `budget`, `size`, `invalid`, `conflict`, `unknown` (no such thing), `timeout`, `gone` (it hung "
    "up). Ours: `busy` (too much at once), `backlog` (too much waiting), `broker`, `store`, `coordinator`, `bug`.",
    "reason",
)  # fmt: skip
BATCHES = counter(
    "muniflow_gateway_batches", "Batches handed to the broker and durable there; one that is sent again counts again."
)
FILES = counter("muniflow_gateway_upload_files", "Images that came with these batches and are in the store.")
UPLOAD_BYTES = counter(
    "muniflow_gateway_upload_bytes", "Bytes that came to the addresses that take batches, refused ones included."
)
UPLOADS = gauge("muniflow_gateway_uploads", "Forms that are coming in now.")
CONNECTIONS = gauge("muniflow_gateway_connections", "Connections of clients that are open.")
STREAMS = gauge("muniflow_gateway_event_streams", "Event streams that are open.")


class GatewayMetrics:
    """All metrics of one gateway process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them."""
        self.registry = registry
        self._requests = REQUESTS.counter(registry)
        self._request_seconds = REQUEST.histogram(registry)
        self._refusals = REFUSALS.counter(registry)
        self._batches = BATCHES.counter(registry)
        self._files = FILES.counter(registry)
        self.upload_bytes = UPLOAD_BYTES.counter(registry)
        self.uploads = UPLOADS.gauge(registry)
        self.connections = CONNECTIONS.gauge(registry)
        self.streams = STREAMS.gauge(registry)
        self.connected = CONNECTED.gauge(registry)
        self.blocked = BLOCKED.gauge(registry)
        self.confirm_seconds = CONFIRM.histogram(registry)
        self.connections_lost = CONNECTIONS_LOST.counter(registry)
        for reason in REASONS:  # from now on, so that a rate over them is never "no data"
            self._refusals.labels(reason)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer. Unknown methods count together, so that nobody can make up labels.

        Args:
            method: as it came.
            route: the template of the path.
            status: of the answer.
            seconds: since the request's head.
        """
        known = method if method in METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._request_seconds.labels(known, route).observe(seconds)

    def refused(self, reason: str) -> None:
        """Count a request that was not served; `reason` is one of `REASONS`."""
        self._refusals.labels(reason).inc()

    def handed_in(self, files: int) -> None:
        """Count a batch that is durable, with the images that came with it."""
        self._batches.inc()
        self._files.inc(files)
