"""What batches and scalers need: a broker, Prometheus with our rules, the metrics API, claims."""

import base64
import json
import shutil
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.prometheus.monitor import FAMILIES, RULES, Prometheus
from tests.cluster.bench import Bench
from tests.cluster.broker import ManagedBroker
from tests.cluster.keda import Keda
from tests.cluster.metrics_api import MetricsApi
from tests.deploy.chart import RELEASE

from muniflow.runtime.startable import Startable
from muniflow_cli.stack.ports import free_ports

HPA, KEDA = "hpa", "keda"
"""Scalers, as the chart's `autoscaling.mode` names them."""
SCRAPE_S = 15
"""As `monitoring.interval` of the chart."""
STORE, LEDGER = "store", f"ledger-{RELEASE}-coordinator-0"
CLAIMS = {STORE: "ReadWriteMany", LEDGER: "ReadWriteOnce"}


@dataclass
class Supplies(Startable):
    """For the bench's namespace of now: `with bench.within("faults"), Supplies(bench, folder) as supplies: ...`"""

    bench: Bench
    folder: Path
    scaler: str = HPA
    """With KEDA, it serves the metrics; else what stands in for prometheus-adapter."""
    _stack: ExitStack = field(default_factory=ExitStack, init=False)

    def start(self) -> None:
        bench, enter = self.bench, self._stack.enter_context
        self.folder.mkdir(parents=True, exist_ok=True)
        self.broker = enter(ManagedBroker(self.folder / "broker"))
        self._targets = self.folder / "targets.json"
        self._targets.write_text("[]")
        self._writing = threading.Lock()
        (port,) = free_ports(1)
        self.prometheus = enter(Prometheus(self.folder / "prometheus", port, self._scraping()))
        bench.kubelet.listeners.append(self._write_targets)
        self._stack.callback(bench.kubelet.listeners.remove, self._write_targets)
        if self.scaler == KEDA:
            self.keda = enter(Keda(bench, self.folder / "keda"))
        else:
            certificate = bench.plane.authority.signed("external-metrics")
            enter(MetricsApi(bench.api, self.prometheus.query, certificate))
        identity = self.broker.identity
        secret = {"url": self.broker.amqp_url, "username": "muniflow", "password": identity.password}
        data = {name: base64.b64encode(value.encode()).decode() for name, value in secret.items()}
        bench.api.post(f"/api/v1/namespaces/{bench.namespace}/secrets", {"metadata": {"name": "broker"}, "data": data})
        for name, mode in CLAIMS.items():
            bench.claim(name, mode)

    def stop(self) -> None:
        self._stack.close()
        self.empty()

    @property
    def store(self) -> Path:
        """The volume of all pods."""
        return self._claims / STORE

    def empty(self) -> None:
        """Remove what is on the volumes; no pod may be there."""
        for name in CLAIMS:
            shutil.rmtree(self._claims / name, ignore_errors=True)

    @property
    def _claims(self) -> Path:
        return self.bench.kubelet.folder / "claims"

    def _scraping(self) -> dict[str, Any]:
        address = self.broker.metrics_url.removeprefix("http://")
        queues = {
            "job_name": "rabbitmq-queues", "metrics_path": "/metrics/detailed", "params": {"family": list(FAMILIES)},
            "static_configs": [{"targets": [address], "labels": {"namespace": self.bench.namespace}}],
        }  # fmt: skip
        pods = {"job_name": "muniflow", "file_sd_configs": [{"files": [str(self._targets)], "refresh_interval": "5s"}]}
        interval = f"{SCRAPE_S}s"
        return {
            "global": {"scrape_interval": interval, "evaluation_interval": interval},
            "rule_files": [str(path) for path in sorted(RULES.glob("*.yaml"))],
            "scrape_configs": [pods, queues],
        }

    def _write_targets(self) -> None:
        """Tell Prometheus which pods there are, as its pod discovery does."""
        with self._writing:
            groups = [
                {"targets": [f"{pod.address}:9100"], "labels": {"namespace": pod.namespace, "pod": pod.name}}
                for pod in list(self.bench.kubelet.pods.values())
                if not pod.ending
            ]
            temporary = self._targets.with_suffix(".new")
            temporary.write_text(json.dumps(groups))
            temporary.rename(self._targets)
