"""A network of namespaces: one for the clients, one for each node of a cluster, whose ways can be cut one by one."""

import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.namespaces import inside
from tests.support.root_tools import path_of, require, run_tool

REQUIRED = "THREE_BROKERS_REQUIRED"
"""Set to `true`: where there can be no such network, that is a failure and no skip."""
PREFIX = "muniflow-"
"""Of the names of our namespaces; the id of the process follows."""
SUBNET = "10.93.71"
"""Nobody outside these namespaces sees it."""
CLIENTS = 254
"""The last part of the clients' address; a node's is its number."""
PROGRAMS = ("ip", "nft")


def why_not(env: Mapping[str, str] = os.environ) -> str | None:
    """Why there can be no network namespaces here, or `None`."""
    if os.geteuid() != 0:
        return "a network of namespaces needs root"
    for program in PROGRAMS:
        if shutil.which(program, path=path_of(env)) is None:
            return f"a network of namespaces needs {program} (scripts/bootstrap dev installs it)"
    tried = run_tool("unshare", "--net", "true")
    return f"the kernel gives no network namespace here: {tried.stderr.strip()}" if tried.returncode else None


def require_network() -> None:
    """Skip the test where there can be no such network; fail it where `THREE_BROKERS_REQUIRED` is true."""
    require(why_not(), REQUIRED)


def address(number: int) -> str:
    return f"{SUBNET}.{number}"


@dataclass(frozen=True)
class Network:
    """Namespaces that share a bridge."""

    numbers: tuple[int, ...]

    def place(self, number: int) -> Path:
        """The namespace of a node, or of the clients."""
        return Path("/run/netns") / _name(number)

    def deafen(self, number: int, *others: int) -> None:
        """Node `number` hears nothing of the others any more. Both ways are cut by two calls."""
        rules = "".join(f"add rule inet cut hear ip saddr {address(other)} drop\n" for other in others)
        table = "add table inet cut\nadd chain inet cut hear { type filter hook input priority 0; }\n"
        _must("ip", "netns", "exec", _name(number), "nft", "-f", "-", text=table + rules)

    def separate(self, number: int, *others: int) -> None:
        """Cut both ways."""
        self.deafen(number, *others)
        for other in others:
            self.deafen(other, number)

    def heal(self) -> None:
        """All hear all."""
        for number in self.numbers:
            _must("ip", "netns", "exec", _name(number), "nft", "flush", "ruleset")


@contextmanager
def network(nodes: int) -> Iterator[Network]:
    """A network for this thread, which is in the clients' namespace meanwhile; gone afterwards."""
    _remove_left_over()
    made = Network(tuple(range(1, nodes + 1)))
    try:
        _make_clients()
        for number in made.numbers:
            _make_node(number)
        with inside(made.place(CLIENTS)):
            yield made
    finally:
        for number in (*made.numbers, CLIENTS):
            run_tool("ip", "netns", "del", _name(number))


def _name(number: int, pid: int | None = None) -> str:
    return f"{PREFIX}{os.getpid() if pid is None else pid}-{number}"


def _make_clients() -> None:
    hub = _name(CLIENTS)
    _must("ip", "netns", "add", hub)
    _must("ip", "-n", hub, "link", "set", "lo", "up")
    _must("ip", "-n", hub, "link", "add", "bridge", "type", "bridge")
    _must("ip", "-n", hub, "link", "set", "bridge", "up")
    _must("ip", "-n", hub, "address", "add", f"{address(CLIENTS)}/24", "dev", "bridge")


def _make_node(number: int) -> None:
    hub, own = _name(CLIENTS), _name(number)
    _must("ip", "netns", "add", own)
    _must("ip", "-n", own, "link", "set", "lo", "up")
    _must("ip", "-n", hub, "link", "add", f"node{number}", "type", "veth", "peer", "name", "wire", "netns", own)
    _must("ip", "-n", hub, "link", "set", f"node{number}", "master", "bridge", "up")
    _must("ip", "-n", own, "address", "add", f"{address(number)}/24", "dev", "wire")
    _must("ip", "-n", own, "link", "set", "wire", "up")


def _remove_left_over() -> None:
    """Of runs that were killed, with the nodes that they left running."""
    for line in run_tool("ip", "netns", "list").stdout.splitlines():
        name = line.partition(" ")[0]
        pid = name.removeprefix(PREFIX).partition("-")[0]
        if name.startswith(PREFIX) and pid.isdecimal() and not Path("/proc", pid).exists():
            for left in run_tool("ip", "netns", "pids", name).stdout.split():
                with suppress(ProcessLookupError):
                    os.kill(int(left), signal.SIGKILL)
            run_tool("ip", "netns", "del", name)


def _must(*command: str, text: str = "") -> None:
    done = run_tool(*command, text=text)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
