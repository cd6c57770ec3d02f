"""The chart's NetworkPolicies, enforced by a kernel: every pair of pods and every port is tried.

Stands in: `firewall` for the network plugin. Real: the policies as helm renders them, nftables, TCP.
"""

import os
import shutil

import pytest
from tests.cluster.firewall import Fabric, Place
from tests.deploy.chart import NAMESPACE, of_kind, rendered
from tests.deploy.policies import pod_labels
from tests.deploy.traffic import flows

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nft"), reason="needs root, and Debian's nftables"),
]
PORTS = (22, 53, 80, 443, 988, 4369, 5432, 5671, 5672, 6443, 7070, 8080, 9100, 9101, 15672, 15692, 25672)
NAME = "app.kubernetes.io/name"
OTHERS = (
    Place("prometheus", "10.99.1.1", "monitoring", {NAME: "prometheus"}),
    Place("impostor", "10.99.1.7", "strangers", {NAME: "prometheus"}),
    Place("keda", "10.99.1.2", "keda", {NAME: "keda-operator"}),
    Place("stranger", "10.99.1.3", "default", {NAME: "stranger"}),
    Place("neighbour", "10.99.1.4", NAMESPACE, {NAME: "something-else"}),
    Place("scaler", "10.99.1.6", "scalers", {NAME: "keda-operator"}),
    Place("dns", "10.99.1.5", "kube-system", {"k8s-app": "kube-dns"}),
    Place("node-dns", "169.254.20.10"),
    Place("metadata", "169.254.169.254"),
    Place("balancer", "35.191.0.9"),
    Place("internet", "203.0.113.7"),
)
"""Pods of other releases and namespaces, and addresses outside of the cluster."""
STEPS = ("step-resize", "step-split", "step-blur")
CLIENTS = (*STEPS, "coordinator", "gateway", "test")
PODS = ("prometheus", "impostor", "keda", "scaler", "stranger", "neighbour", "dns")
DEFAULT = {
    *(f"{client} > {server}:53" for client in CLIENTS for server in ("dns", "node-dns")),
    *(f"prometheus > {client}:{port}" for client in CLIENTS for port in (9100, 9101)),
    "prometheus > broker:15692",
    *(f"{pod} > gateway:8080" for pod in PODS),
}
"""What may cross the border of the release."""
CLOUD = {
    *(f"{client} > internet:443" for client in CLIENTS),
    *(f"{client} > metadata:{port}" for client in CLIENTS for port in (53, 80)),
    *(f"{client} > {place.name}:443" for client in CLIENTS for place in OTHERS),
    "balancer > gateway:8080",
}
"""And on GKE, with the pictures in object storage."""


@pytest.mark.parametrize(
    ("case", "border"),
    [
        ("default", DEFAULT),
        ("hpa-forecast", DEFAULT),
        ("keda-forecast", DEFAULT | {"scaler > coordinator:9100"}),
        ("keda-messages", DEFAULT | {"keda > broker:15672"}),
        ("network-gke", DEFAULT | CLOUD),
    ],
)
def test_every_pair_and_every_port(case, border, capsys):
    documents = rendered(case)
    inside = [
        Place(name.split("/")[1].removeprefix("muniflow-"), f"10.99.0.{number}", NAMESPACE, labels)
        for number, (name, labels) in enumerate(pod_labels(documents).items(), 1)
    ]
    places = [*inside, *OTHERS]
    with Fabric(places, of_kind(documents, "NetworkPolicy"), PORTS) as fabric:
        reached = {(place.name, *target) for place in places for target in fabric.reached(place.name)}
    names, others = {place.name for place in inside}, {place.name for place in OTHERS}
    found = {flow(*way) for way in reached if {way[0], way[1]} & names}
    crossing = {flow(*way) for way in reached if (way[0] in names) != (way[1] in names)}
    with capsys.disabled():
        attempts = len(places) * (len(places) - 1) * len(PORTS)
        print(f"\n{case}: {attempts} attempts, {len(found)} of them open")  # noqa: T201 - the figure of the guide
    assert crossing == border
    assert found - crossing == flows_between(case)
    open_anyway = {(source, target, port) for source in others for target in others - {source} for port in PORTS}
    assert open_anyway <= reached, "only the chart's own pods are closed"


def flow(source: str, target: str, port: int) -> str:
    """As `traffic` writes it."""
    return f"{source} > {target}:{port}"


def flows_between(case: str) -> set[str]:
    """What `traffic` reads from the policies, without a pod's flows to itself."""
    return {way for way in flows(rendered(case)) if way.split(" > ")[0] != way.split(" > ")[1].split(":")[0]}
