"""Helpers of these tests: pictures, forms, and a gateway process that may be killed."""

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from tests.integration.stacks import ROOT
from tests.support import web
from tests.support.waiting import eventually

from muniflow_cli.stack.ports import free_ports

PICTURES = sorted((ROOT / "examples/images").iterdir())
ACTIONS = {"operations": [["resize", "64x48"]], "output": "jpg"}
ROUTE = {"operations": [["resize", "200x300"], ["split", True], ["blur", "gaussian"]], "output": "jpg"}


def picture(number=0):
    """Name and bytes of an example photograph."""
    path = PICTURES[number % len(PICTURES)]
    return path.name, path.read_bytes()


def form(*files, actions=ACTIONS):
    """Keyword arguments for httpx: a form with these (name, bytes)."""
    return {"data": {"actions": json.dumps(actions)}, "files": [("files", file) for file in files]}


def resident_bytes(pid):
    """Memory of a process that is in RAM now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


@contextmanager
def own_gateways(environment, folder, until):
    """Starts gateways, each until `until(gateway)`; all are ended at the end."""
    started: list[OwnGateway] = []

    def start(**variables):
        made = OwnGateway.start(environment, folder / f"gateway-{len(started)}", variables)
        started.append(made)
        eventually(lambda: until(made))
        return made

    try:
        yield start
    finally:
        for each in started:
            each.kill()


@dataclass
class OwnGateway:
    """A gateway process."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    metrics_url: str

    @classmethod
    def start(cls, environment, folder, variables):
        """Start one."""
        folder.mkdir()
        host = variables.pop("host", "127.0.0.1")
        port, metrics_port = free_ports(2)
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "muniflow_gateway"],
                env={
                    **environment,
                    "MUNIFLOW_GATEWAY_BIND": f"{host}:{port}",
                    "MUNIFLOW_HTTP_BIND": f"127.0.0.1:{metrics_port}",
                    "MUNIFLOW_API_KEYS_FILE": str(folder / "keys"),
                    **variables,
                },
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(f"http://127.0.0.1:{port}", process, log, f"http://127.0.0.1:{metrics_port}")

    def ready(self):
        return self.answers("/readyz")

    def answers(self, path="/livez"):
        assert self.process.poll() is None, self.log.read_text()
        try:
            return web.get(f"{self.url}{path}").is_success
        except httpx.TransportError:
            return False

    def metric(self, name):
        """The value of a gauge without labels now."""
        lines = web.get(f"{self.metrics_url}/metrics").text.splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))

    def kill(self):
        self.process.kill()
        self.process.wait()
