"""KEDA on the bench: its operator and its metrics adapter as two processes outside of the cluster.

Real: both binaries (`tools/control-plane` builds them with the few scalers that the chart uses) and their definitions.
Stands in: they act as the administrator, so their own rights are not tried; certificates are the bench's.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from benchmarks import proc
from tests.cluster.bench import Bench
from tests.cluster.metrics_api import aggregated
from tests.cluster.objects import Objects
from tests.cluster.programs import Program
from tests.support.waiting import eventually

from muniflow.runtime.startable import Startable
from muniflow_cli.stack.ports import free_ports, is_open

NAMESPACE = "keda"
PROGRAMS = OPERATOR, ADAPTER = "keda-operator", "keda-adapter"
KINDS = ("ScaledObject", "TriggerAuthentication")
VERSION = "keda.sh/v1alpha1"
IN_CLUSTER = 'mount --bind "$0" /etc/hosts; mount --bind /dev/null /etc/resolv.conf; exec "$@"'
"""So that it finds the cluster's Services, which are in the pods' own hosts file, and asks nobody for others."""


@dataclass
class Keda(Startable):
    """`with Keda(bench, folder): ...` serves external metrics, and scales what ScaledObjects name."""

    bench: Bench
    folder: Path
    _stack: ExitStack = field(default_factory=ExitStack, init=False)

    def start(self) -> None:
        bench, enter = self.bench, self._stack.enter_context
        self.folder.mkdir(parents=True, exist_ok=True)
        self._define()
        self._certify()
        health, metrics, served, told = free_ports(4)
        service = f"127.0.0.1:{metrics}"
        self.operator = enter(self._program(OPERATOR, health, [
            f"--cert-dir={self.folder}", "--enable-prometheus-metrics=false", f"--ca-dir={self.folder}",
            f"--health-probe-bind-address=127.0.0.1:{health}", f"--metrics-service-bind-address={service}",
        ]))  # fmt: skip
        account = str(bench.plane.kubeconfig)
        certificate, key = (str(self.folder / name) for name in ("tls.crt", "tls.key"))
        self.adapter = enter(self._program(ADAPTER, served, [
            f"--cert-dir={self.folder}", f"--tls-cert-file={certificate}", f"--tls-private-key-file={key}",
            f"--client-ca-file={bench.plane.authority.certificate}", f"--metrics-service-address={service}",
            "--bind-address=127.0.0.1", f"--secure-port={served}", f"--port={told}",
            f"--authentication-kubeconfig={account}", f"--authorization-kubeconfig={account}",
            f"--lister-kubeconfig={account}",
        ]))  # fmt: skip
        enter(aggregated(bench.api, served))

    def stop(self) -> None:
        self._stack.close()

    def tail(self) -> str:
        """The end of the operator's log."""
        return self.operator.tail

    @property
    def cpu_s(self) -> float:
        """Processor time that the operator has used."""
        return proc.cpu_s([self.operator.pid])

    def _program(self, name: str, port: int, flags: Sequence[str]) -> Program:
        command = ["unshare", "--mount", "--propagation", "private", "--", "/bin/bash", "-c", IN_CLUSTER]
        binary = str(self.bench.plane.programs / name)
        account = f"--kubeconfig={self.bench.plane.kubeconfig}"
        variables = {"WATCH_NAMESPACE": "", "POD_NAMESPACE": NAMESPACE, "KEDA_CLUSTER_OBJECT_NAMESPACE": NAMESPACE}
        return Program(
            name,
            [*command, str(self.bench.kubelet.hosts), binary, account, *flags],
            self.folder / f"{name}.log",
            lambda: is_open(port),
            variables=variables,
        )

    def _define(self) -> None:
        """KEDA's own kinds, and its namespace."""
        objects = Objects(self.bench.api).discover()
        for path in sorted((self.bench.plane.programs / "definitions").glob("*keda.sh_*.yaml")):
            objects.apply(yaml.safe_load(path.read_text()))
        there = {(VERSION, kind) for kind in KINDS}
        eventually(lambda: there <= objects.discover().paths.keys(), what="KEDA's kinds")
        objects.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})

    def _certify(self) -> None:
        """One certificate for both, as client and as server."""
        authority = self.bench.plane.authority
        certificate, key = authority.signed(OPERATOR)
        for name, path in {"ca.crt": authority.certificate, "tls.crt": certificate, "tls.key": key}.items():
            (self.folder / name).write_bytes(path.read_bytes())
