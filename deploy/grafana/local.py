"""Grafana with our dashboards beside a stack of this machine, where one is installed: for `make monitor`."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from deploy.prometheus.monitor import LocalServer

from muniflow.errors import MuniflowError

HERE = Path(__file__).parent
DASHBOARDS = HERE / "dashboards"
PACKAGED_HOME = Path("/usr/share/grafana")


def find_grafana() -> Path | None:
    """The program of a Grafana on the path, or `None`."""
    found = shutil.which("grafana") or shutil.which("grafana-server")
    return None if found is None else Path(found)


@dataclass
class Grafana(LocalServer):
    """A Grafana of our own, for this machine alone: whoever opens it looks on, without a password."""

    source_url: str = field(default="")
    """Prometheus."""

    name = "Grafana"
    ready_path = "/api/health"

    def command(self) -> Sequence[str]:
        """Write what it is provisioned with; return how it is called."""
        program = find_grafana()
        if program is None:
            raise MuniflowError("there is no `grafana` on the path")
        for kind in ("datasources", "dashboards"):
            folder = self.folder / "provisioning" / kind
            folder.mkdir(parents=True, exist_ok=True)
            for template in sorted((HERE / "provisioning" / kind).glob("*.yaml")):
                document = yaml.safe_load(template.read_text())
                for source in document.get("datasources", ()):
                    source["url"] = self.source_url
                for provider in document.get("providers", ()):
                    provider["options"]["path"] = str(DASHBOARDS)
                (folder / template.name).write_text(yaml.safe_dump(document))
        serves = ["server"] if program.name == "grafana" else []
        # An unpacked one has its files beside `bin`, a package of a distribution elsewhere.
        unpacked = program.resolve().parent.parent
        home = unpacked if (unpacked / "conf" / "defaults.ini").is_file() else PACKAGED_HOME
        return [str(program), *serves, f"--homepath={home}"]

    def environment(self) -> Mapping[str, str]:
        """Settings; nothing is asked of the network."""
        return {
            "GF_SERVER_HTTP_ADDR": "127.0.0.1",
            "GF_SERVER_HTTP_PORT": str(self.port),
            "GF_PATHS_DATA": str(self.folder / "data"),
            "GF_PATHS_LOGS": str(self.folder / "logs"),
            "GF_PATHS_PLUGINS": str(self.folder / "plugins"),
            "GF_PATHS_PROVISIONING": str(self.folder / "provisioning"),
            "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": str(DASHBOARDS / "pipeline.json"),
            "GF_AUTH_ANONYMOUS_ENABLED": "true",
            "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
            "GF_AUTH_DISABLE_LOGIN_FORM": "true",
            "GF_ANALYTICS_REPORTING_ENABLED": "false",
            "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
            "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
            "GF_PLUGINS_PREINSTALL_DISABLED": "true",
        }
