"""The gateway's metrics, each declared once."""

from prometheus_client import CollectorRegistry, Counter, Gauge

METHODS = frozenset({"GET", "POST", "DELETE", "HEAD", "OPTIONS"})


class GatewayMetrics:
    """All metrics of one gateway process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them."""
        self._requests = Counter(
            "muniflow_gateway_requests",
            "Answers by method, route and status.",
            ["method", "route", "status"],
            registry=registry,
        )
        self.uploading = Gauge("muniflow_gateway_uploads", "Forms that are coming in now.", registry=registry)
        self.streams = Gauge("muniflow_gateway_event_streams", "Event streams that are open.", registry=registry)

    def answered(self, method: str, route: str, status: int) -> None:
        """Count an answer. Unknown methods and paths count together, so that nobody can make up labels."""
        self._requests.labels(method if method in METHODS else "other", route, str(status)).inc()
