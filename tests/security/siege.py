"""What others meet while crowds of slow clients of every kind hold on to two gateways and a coordinator.

Beside them a server answers that does nothing else: its time is the machine's own.
"""

import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

from tests.integration.gateway.help import OwnGateway, form, own_gateways, picture, resident_bytes
from tests.integration.stacks import ROOT
from tests.support import web

from muniflow_gateway.auth.api_keys import make_key

MIB = 2**20
EVERY_S = 0.5
HANGS_S = 30.0
AT_THE_COORDINATOR = ("half head", "slow head", "deaf", "idle")
"""It takes no bodies, and knows no keys."""
COORDINATOR_SHARE = 5
"""It stands behind network policies: 34 clients were enough to close it once."""


@dataclass
class Figures:
    """What others met while the crowd was there."""

    times_s: dict[str, list[float]] = field(default_factory=dict)
    grown_bytes: dict[str, int] = field(default_factory=dict)

    def ask(self, name, url, key=None):
        """Ask once."""
        began_s = time.monotonic()
        answer = web.get(url, timeout=HANGS_S, headers={"X-Api-Key": key} if key else {})
        passed_s = time.monotonic() - began_s
        assert answer.is_success, f"{name}: {answer.status_code} {answer.text}"
        self.times_s.setdefault(name, []).append(passed_s)

    def weigh(self, name, pid, before_bytes):
        """Look how much a process has grown."""
        self.grown_bytes[name] = max(resident_bytes(pid) - before_bytes, self.grown_bytes.get(name, 0))

    def __str__(self):
        times = "".join(
            f"\n  {name:32} {median(times):6.3f} s, {max(times):6.3f} s at most, of {len(times)}"
            for name, times in self.times_s.items()
        )
        sizes = "".join(f"\n  {name:32} {grown / MIB:+6.0f} MiB" for name, grown in self.grown_bytes.items())
        return f"answers, in the median:{times}\nmemory:{sizes}"

    @property
    def worst_s(self):
        """The slowest answer."""
        return max(max(times) for times in self.times_s.values())


@contextmanager
def idle_server(folder):
    """The address of a process that only answers."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split("(")[1].split(")")[0]
        finally:
            process.kill()


@contextmanager
def crowd(urls, *, count, seconds, key, path, kinds=()):
    """So many slow clients at each address, in a process of their own."""
    options = ["--count", str(count), "--seconds", str(seconds), "--key", key, "--path", path]
    options += ["--kinds", ",".join(kinds)] if kinds else []
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.security.crowd", *urls, *options], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def besieged(stack, folder, path, count, seconds):
    """What others meet while a crowd of `count` is at each of two gateways, and one at the coordinator."""
    keys = folder / "keys"
    slow, other = (make_key(keys, name, {}) for name in ("slow", "other"))
    own = {"MUNIFLOW_API_KEYS_FILE": str(keys), "MUNIFLOW_GATEWAY_OPEN": "false"}
    (coordinator,) = [process for process in stack.state.processes if process.name == "coordinator"]
    with (
        idle_server(folder) as idle_url,
        own_gateways(stack.environment, folder, OwnGateway.ready) as start,
    ):
        gateways = [start(**own) for _ in range(2)]
        for gateway in gateways:  # once as in everyday use, before they are weighed
            with web.Client(base_url=gateway.url, headers={"X-Api-Key": other}, timeout=HANGS_S) as client:
                assert client.get(path).is_success
                assert client.post("/process", **form(picture())).is_success
        processes = {f"gateway {number}": gateway.process.pid for number, gateway in enumerate(gateways, 1)}
        processes["coordinator"] = coordinator.identity.pid
        before = {name: resident_bytes(pid) for name, pid in processes.items()}
        figures = Figures()
        with (
            crowd([one.url for one in gateways], count=count, seconds=seconds, key=slow, path=path) as at_gateways,
            crowd(
                [stack.state.coordinator_url],
                count=count // COORDINATOR_SHARE,
                seconds=seconds,
                key="",
                path="/metrics",
                kinds=AT_THE_COORDINATOR,
            ),
        ):
            while at_gateways.poll() is None:
                for number, gateway in enumerate(gateways, 1):
                    for health in ("/livez", "/readyz"):
                        figures.ask(f"gateway {number} {health}", f"{gateway.url}{health}")
                        figures.ask(f"gateway {number} own {health}", f"{gateway.metrics_url}{health}")
                    figures.ask(f"gateway {number} keyed", f"{gateway.url}/v1/batches", other)
                for health in ("/livez", "/readyz", "/metrics"):
                    figures.ask(f"coordinator own {health}", f"{coordinator.url}{health}")
                figures.ask("coordinator API", f"{stack.state.coordinator_url}/v1/info")
                figures.ask("a server that does nothing else", idle_url)
                for name, pid in processes.items():
                    figures.weigh(name, pid, before[name])
                time.sleep(EVERY_S)
            came = at_gateways.stdout.read()
    few = count // COORDINATOR_SHARE
    title = f"{count} slow clients at each of two gateways, {few} at the coordinator, for {seconds:.0f} s"
    sys.stdout.write(f"\n{title}\n{figures}\n{came}")
    return figures
