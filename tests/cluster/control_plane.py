"""A Kubernetes control plane on loopback: etcd, API server with RBAC, controller manager, scheduler; real binaries."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from tests.cluster.api import Api
from tests.cluster.certificates import Authority
from tests.cluster.programs import Program

from muniflow.runtime.startable import Startable
from muniflow_cli.stack.ports import free_ports, is_open

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
GRACE_S = 40
"""A node that says nothing for so long is lost; Kubernetes' own default is 50 s."""


def binaries() -> Path | str:
    """The folder of the binaries, or why there is none."""
    command = [sys.executable, str(ROOT / "tools" / "control-plane"), "--path"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return Path(done.stdout.strip()) if done.returncode == 0 else done.stderr.strip()


@dataclass
class ControlPlane(Startable):
    """`with ControlPlane(binaries, folder) as plane: plane.api.get("/version")`."""

    programs: Path
    folder: Path
    """Certificates, logs, etcd's data."""
    _stack: ExitStack = field(default_factory=ExitStack, init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port, self._etcd, self._peer, self._manager, self._scheduler = free_ports(5)
        self.authority = Authority(self.folder)
        self._public, self._private = self.authority.token_keys()
        certificate, key = self.authority.signed("admin", "system:masters")
        self.api = Api(f"https://{HOST}:{self.port}", self.authority.certificate, certificate, key)

    def start(self) -> None:
        self._run("etcd", self._etcd_flags(), lambda: is_open(self._etcd))
        self.server = self._run("kube-apiserver", self._server_flags(), self.api.healthy)
        if self.managed:
            self._manage()

    @property
    def managed(self) -> bool:
        """Whether the binaries of controller manager and scheduler are there."""
        return all((self.programs / name).exists() for name in ("kube-controller-manager", "kube-scheduler"))

    def _manage(self) -> None:
        self._run("kube-controller-manager", self._manager_flags(), lambda: is_open(self._manager))
        self._run("kube-scheduler", self._scheduler_flags(), lambda: is_open(self._scheduler))

    def stop(self) -> None:
        self._stack.close()

    @property
    def kubeconfig(self) -> Path:
        """Of the administrator, for helm and kubectl."""
        return self._kubeconfig("admin", "system:masters")

    def _run(self, name: str, flags: list[str], answers: Callable[[], bool]) -> Program:
        program = Program(name, [str(self.programs / name), *flags], self.folder / f"{name}.log", answers)
        return self._stack.enter_context(program)

    def _kubeconfig(self, user: str, group: str = "") -> Path:
        certificate, key = self.authority.signed(user, group)
        path = self.folder / f"{certificate.stem}.kubeconfig"
        cluster = {"server": self.api.url, "certificate-authority": str(self.authority.certificate)}
        account = {"client-certificate": str(certificate), "client-key": str(key)}
        document = {
            "apiVersion": "v1", "kind": "Config", "current-context": "bench",
            "clusters": [{"name": "bench", "cluster": cluster}], "users": [{"name": "bench", "user": account}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        }  # fmt: skip
        path.write_text(yaml.safe_dump(document))
        return path

    def _etcd_flags(self) -> list[str]:
        clients, peers = f"http://{HOST}:{self._etcd}", f"http://{HOST}:{self._peer}"
        return [
            f"--data-dir={self.folder / 'etcd'}", "--unsafe-no-fsync",
            f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
        ]  # fmt: skip

    def _server_flags(self) -> list[str]:
        certificate, key = self.authority.signed("kube-apiserver")
        proxy, proxy_key = self.authority.signed("front-proxy-client")
        return [
            f"--etcd-servers=http://{HOST}:{self._etcd}", f"--bind-address={HOST}", f"--secure-port={self.port}",
            f"--advertise-address={HOST}", "--authorization-mode=Node,RBAC", "--endpoint-reconciler-type=none",
            f"--client-ca-file={self.authority.certificate}",
            f"--tls-cert-file={certificate}", f"--tls-private-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={self._public}",
            f"--service-account-signing-key-file={self._private}", "--service-cluster-ip-range=10.96.0.0/16",
            f"--requestheader-client-ca-file={self.authority.certificate}",
            "--requestheader-allowed-names=front-proxy-client", "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={proxy}", f"--proxy-client-key-file={proxy_key}",
            "--enable-aggregator-routing=false",
        ]  # fmt: skip

    def _manager_flags(self) -> list[str]:
        return [
            f"--kubeconfig={self._kubeconfig('system:kube-controller-manager')}", "--leader-elect=false",
            f"--bind-address={HOST}", f"--secure-port={self._manager}", f"--root-ca-file={self.authority.certificate}",
            f"--service-account-private-key-file={self._private}", "--use-service-account-credentials=true",
            f"--node-monitor-grace-period={GRACE_S}s",
        ]  # fmt: skip

    def _scheduler_flags(self) -> list[str]:
        return [
            f"--kubeconfig={self._kubeconfig('system:kube-scheduler')}", "--leader-elect=false",
            f"--bind-address={HOST}", f"--secure-port={self._scheduler}",
        ]  # fmt: skip
