"""NetworkPolicies as nftables rules between network namespaces: each pod is a namespace on one bridge.

What a network plugin does, in the small: a policy's selectors become addresses, its rules become accepts before a
refusal. A refusal is a reset, not silence, so that thousands of attempts take seconds.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from tests.deploy.chart import Document
from tests.deploy.policies import matches

from muniflow.runtime.startable import Startable

LISTEN = """
import socket, sys, time
kept = [socket.create_server(("", int(port)), backlog=256) for port in sys.argv[1:]]
print("ready", flush=True)
sys.stdin.read()
"""
ATTEMPT = """
import json, socket, sys
reached = []
for name, address, port in json.load(sys.stdin):
    try:
        socket.create_connection((address, port), timeout=2).close()
        reached.append((name, port))
    except OSError:
        pass
print(json.dumps(reached))
"""
LIMIT_S = 120.0


@dataclass(frozen=True)
class Place:
    """A pod, or an address outside of the cluster (`namespace` is empty)."""

    name: str
    address: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


def rules(policies: Sequence[Document], place: Place, places: Sequence[Place]) -> str:
    """The ruleset of one pod's namespace."""
    chains = []
    for direction, hook, peers, side in (("Ingress", "input", "from", "saddr"), ("Egress", "output", "to", "daddr")):
        own = [policy for policy in policies if _selects(policy, place) and direction in policy["spec"]["policyTypes"]]
        lines = ["ct state established,related accept", f"{'iifname' if hook == 'input' else 'oifname'} lo accept"]
        for policy in own:
            for rule in policy["spec"].get(direction.lower()) or ():
                lines += _accepts(rule, policy, peers, side, places)
        if own:
            lines += ["meta l4proto tcp reject with tcp reset", "meta l4proto udp drop"]
        body = "\n    ".join(lines)
        chains.append(f"  chain on_{hook} {{\n    type filter hook {hook} priority 0; policy accept;\n    {body}\n  }}")
    return "table inet pods {\n" + "\n".join(chains) + "\n}\n"


def _selects(policy: Document, place: Place) -> bool:
    same = policy["metadata"]["namespace"] == place.namespace
    return same and matches(policy["spec"]["podSelector"], place.labels)


def _accepts(rule: Document, policy: Document, peers: str, side: str, places: Sequence[Place]) -> Iterator[str]:
    ports = [f"{port.get('protocol', 'TCP').lower()} dport {port['port']}" for port in rule.get("ports", ())] or [""]
    addresses = [""]
    if rule.get(peers):
        found = sorted({address for peer in rule[peers] for address in _addresses(peer, policy, places)})
        addresses = [f"ip {side} {address}" for address in found]
    yield from (f"{address} {port} accept" for address in addresses for port in ports)


def _addresses(peer: Mapping[str, Any], policy: Document, places: Sequence[Place]) -> Iterator[str]:
    if "ipBlock" in peer:
        yield peer["ipBlock"]["cidr"]
        return
    for place in places:
        labels = {"kubernetes.io/metadata.name": place.namespace}
        inside = place.namespace == policy["metadata"]["namespace"]
        if "namespaceSelector" in peer:
            inside = bool(place.namespace) and matches(peer["namespaceSelector"], labels)
        if inside and matches(peer.get("podSelector", {}), place.labels):
            yield place.address


@dataclass
class Fabric(Startable):
    """`with Fabric(places, policies, ports) as fabric: fabric.reached("step-blur")`."""

    places: Sequence[Place]
    policies: Sequence[Document]
    ports: Sequence[int]
    _stack: ExitStack = field(default_factory=ExitStack, init=False)

    def start(self) -> None:
        self._names = {place.name: f"mf{os.getpid()}-{number}" for number, place in enumerate(self.places)}
        switch = f"mf{os.getpid()}-switch"
        self._namespace(switch)
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        for number, place in enumerate(self.places):
            self._connect(self._names[place.name], switch, f"port{number}", place)
        for place in self.places:
            self._listen(place)

    def stop(self) -> None:
        self._stack.close()

    def reached(self, source: str) -> set[tuple[str, int]]:
        """What one place reaches of all others: names and ports."""
        targets = [
            (place.name, place.address, port) for place in self.places if place.name != source for port in self.ports
        ]
        done = subprocess.run(
            ["ip", "netns", "exec", self._names[source], sys.executable, "-I", "-c", ATTEMPT],
            input=json.dumps(targets), capture_output=True, text=True, check=True, timeout=LIMIT_S,
        )  # fmt: skip
        return {(name, port) for name, port in json.loads(done.stdout)}

    def _namespace(self, name: str) -> None:
        _ip("netns", "add", name)
        self._stack.callback(_ip, "netns", "delete", name)

    def _connect(self, name: str, switch: str, port: str, place: Place) -> None:
        self._namespace(name)
        _ip("-n", switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("-n", switch, "link", "set", port, "master", "bridge", "up")
        for arguments in (
            ("link", "set", "lo", "up"), ("address", "add", f"{place.address}/32", "dev", "eth0"),
            ("link", "set", "eth0", "up"), ("route", "add", "default", "dev", "eth0"),
        ):  # fmt: skip
            _ip("-n", name, *arguments)
        ruleset = rules(self.policies, place, self.places)
        command = ["ip", "netns", "exec", name, "nft", "-f", "-"]
        done = subprocess.run(command, input=ruleset, capture_output=True, text=True, check=False, timeout=LIMIT_S)
        assert done.returncode == 0, f"{done.stderr}\n{ruleset}"

    def _listen(self, place: Place) -> None:
        command = ["ip", "netns", "exec", self._names[place.name], sys.executable, "-I", "-c", LISTEN]
        process = subprocess.Popen(
            [*command, *map(str, self.ports)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._stack.callback(_end, process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"


def _end(process: subprocess.Popen[str]) -> None:
    process.communicate("", timeout=LIMIT_S)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
