"""A stand-in for prometheus-adapter: answers `external.metrics.k8s.io/v1beta1` by the rules of `adapter-rules.yaml`.

It asks a real Prometheus with the rules' own queries. A series that is not there is an empty list, as the adapter gives
it, and never zero. It trusts whoever asks: it listens on loopback.
"""

import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from tests.cluster.api import Api, Object
from tests.cluster.nodes import seconds_now

from muniflow.errors import MuniflowError
from muniflow.runtime.startable import Startable

GROUP = "external.metrics.k8s.io"
RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "adapter-rules.yaml"
SELECTOR = re.compile(r"(\w+)\s+in\s+\(([^)]*)\)|(\w+)=(\w+)")
SERVICES = "/api/v1/namespaces/kube-system/services"
API_SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
SERIES = re.compile(r"^[^{]+")

Query = Callable[[str], list[dict[str, Any]]]
"""An instant query: expression to series."""


def rules() -> dict[str, tuple[str, str]]:
    """Series and query template of each metric, by the name that the API gives it."""
    found = {}
    for rule in yaml.safe_load(RULES.read_text())["rules"]["external"]:
        series = SERIES.match(rule["seriesQuery"])
        assert series
        found[rule.get("name", {}).get("as", series[0])] = (series[0], rule["metricsQuery"])
    return found


def expression(metric: str, namespace: str, selector: str) -> str:
    """The query for a metric and a label selector as an HPA sends it.

    >>> expression("muniflow_stage_wanted_replicas", "imagery", "stage=blur")
    'max(muniflow_stage_wanted_replicas{namespace="imagery",stage="blur"}) by (stage)'
    """
    series, template = rules()[metric]
    matchers = [f'namespace="{namespace}"']
    for several, values, one, value in SELECTOR.findall(selector):
        names = "|".join(part.strip() for part in values.split(","))
        matchers.append(f'{one}="{value}"' if one else f'{several}=~"{names}"')
    return template.replace("<<.Series>>", series).replace("<<.LabelMatchers>>", ",".join(matchers))


def answer(path: str, query: Query) -> Object | None:
    """What the API answers to a path; `None`: it is not there."""
    parts = urlsplit(path)
    names = parts.path.removeprefix(f"/apis/{GROUP}/v1beta1").strip("/").split("/")
    if names == [""]:
        listed = [
            {"name": name, "namespaced": True, "kind": "ExternalMetricValueList", "verbs": ["get"]} for name in rules()
        ]
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/v1beta1", "resources": listed}
    if len(names) != 3 or names[2] not in rules():
        return None
    selector = parse_qs(parts.query).get("labelSelector", [""])[0]
    items = [
        {"metricName": names[2], "metricLabels": series["metric"], "timestamp": seconds_now(),
         "value": f"{round(float(series['value'][1]) * 1000)}m"}
        for series in query(expression(names[2], names[1], selector))
    ]  # fmt: skip
    return {"kind": "ExternalMetricValueList", "apiVersion": f"{GROUP}/v1beta1", "metadata": {}, "items": items}


class Handler(BaseHTTPRequestHandler):
    """One request of the API server's aggregator."""

    def found(self) -> Object | None:
        """The answer; `None`: there is no such path."""
        raise NotImplementedError

    def do_GET(self) -> None:
        try:
            found = self.found()
        except (MuniflowError, OSError):
            return self._send(503, {"kind": "Status", "status": "Failure", "code": 503})
        missing = {"kind": "Status", "status": "Failure", "code": 404}
        return self._send(404 if found is None else 200, missing if found is None else found)

    def _send(self, status: int, document: Object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def aggregated(api: Api, port: int) -> Iterator[None]:
    """Have the API server ask this port of loopback for external metrics."""
    service = {"name": "external-metrics", "namespace": "kube-system", "port": port}
    api.post(SERVICES, {
        "metadata": {"name": service["name"]},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
    })  # fmt: skip
    api.post(API_SERVICES, {
        "metadata": {"name": f"v1beta1.{GROUP}"},
        "spec": {
            "group": GROUP, "version": "v1beta1", "insecureSkipTLSVerify": True, "groupPriorityMinimum": 100,
            "versionPriority": 100, "service": service,
        },
    })  # fmt: skip
    try:
        yield
    finally:
        for path in (f"{SERVICES}/external-metrics", f"{API_SERVICES}/v1beta1.{GROUP}"):
            api.delete(path)


@dataclass
class MetricsApi(Startable):
    """Serves, and is registered with the API server as an aggregated API."""

    api: Api
    query: Query
    certificate: tuple[Path, Path]
    """Certificate and key."""
    _stack: ExitStack = field(default_factory=ExitStack, init=False)

    def start(self) -> None:
        query = self.query

        class Asked(Handler):
            def found(self) -> Object | None:
                return answer(self.path, query)

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.certificate)
        server = self._stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Asked))
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self._stack.callback(server.shutdown)
        self._stack.enter_context(aggregated(self.api, server.server_port))

    def stop(self) -> None:
        self._stack.close()
