"""`networkPolicy.preset`: what each cloud needs is open, and nothing else.

Rendered and read, not enforced: no cloud was tried. docs/guides/network.md says where each address comes from.
"""

import json
from ipaddress import ip_address, ip_network

import pytest
import yaml
from tests.deploy.chart import CASES, CHART, NAMESPACE, ROOT, Document, load, of_kind, rendered, template, values_of
from tests.deploy.traffic import into, outside

PRESETS = ("none", "gke", "eks", "aks", "openshift")
CASE_OF = {"none": "default", **{preset: f"network-{preset}" for preset in PRESETS[1:]}}
NODE_CACHE = "169.254.20.10/32"


def places(case: str, pod: str = "step-blur") -> set[str]:
    """Where a pod may go outside the release, as `53 kube-system`; a port alone goes anywhere."""
    return {flow.partition(":")[2] for flow in outside(rendered(case)) if flow.startswith(f"{pod}:")}


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("none", {"53 kube-system", f"53 {NODE_CACHE}"}),
        ("gke", {"53 kube-system", f"53 {NODE_CACHE}", "53 169.254.169.254/32"}),
        ("eks", {"53 kube-system", f"53 {NODE_CACHE}"}),
        ("aks", {"53 kube-system", f"53 {NODE_CACHE}", "53 169.254.10.10/32", "53 169.254.10.11/32"}),
        ("openshift", {"5353 openshift-dns"}),
    ],
)
def test_names_are_asked_of_the_clusters_dns_alone(preset, expected):
    assert {place for place in places(CASE_OF[preset]) if place.startswith("53")} == expected


@pytest.mark.parametrize("case", [case for case in CASES if values_of(case).get("networkPolicy", {}).get("enabled", 1)])
def test_port_53_is_never_open_to_any_address(case):
    assert not {flow for flow in outside(rendered(case)) if flow.endswith((":53", ":5353"))}


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("default", set()),
        ("network-gke", {"988 169.254.169.252/32", "80 169.254.169.254/32"}),
        ("network-eks", {"80 169.254.170.23/32", "80 fd00:ec2::23/128"}),
        ("network-aks", set()),
        ("network-openshift", set()),
        ("network-gke-keys", set()),  # store.existingSecret: keys, not identity
    ],
)
def test_the_server_that_gives_credentials_is_open_where_identity_is_used(case, expected):
    assert {place for place in places(case) if place.split(" ")[0] in {"80", "988"}} == expected


def test_the_broker_asks_dns_as_the_preset_says_and_no_metadata_server():
    assert {place for place in places("network-openshift", "broker") if place.startswith("53")} == {
        "5353 openshift-dns"
    }
    assert not {place for place in places("network-eks", "broker") if place.startswith("80 ")}


@pytest.mark.parametrize(
    ("preset", "source", "open_to"),
    [
        ("gke", "35.191.10.1", True),  # Google's front ends and health checks
        ("gke", "130.211.1.1", True),
        ("gke", "10.128.0.5", True),  # a node, or a proxy-only subnet
        ("gke", "203.0.113.7", False),
        ("eks", "10.0.4.17", True),  # a load balancer in the VPC
        ("eks", "100.64.3.1", True),
        ("eks", "203.0.113.7", False),
        ("aks", "10.224.0.9", True),  # Application Gateway in the virtual network
        ("aks", "168.63.129.16", True),  # the balancer's health probe
        ("aks", "203.0.113.7", False),
        ("openshift", "10.0.4.17", False),  # by labels of namespaces, not by address
        ("none", "10.0.4.17", False),
    ],
)
def test_balancers_reach_the_gateway(preset, source, open_to):
    blocks = [peer["ipBlock"]["cidr"] for peer in into(rendered(CASE_OF[preset]), "gateway", 8080) if "ipBlock" in peer]
    assert any(ip_address(source) in ip_network(block) for block in blocks) == open_to


@pytest.mark.parametrize("preset", PRESETS)
def test_pods_of_every_namespace_reach_the_gateway(preset):
    peers = into(rendered(CASE_OF[preset]), "gateway", 8080)
    assert any(peer.get("namespaceSelector") == {} and not peer.get("podSelector") for peer in peers)


def test_openshifts_routers_reach_the_gateway_also_from_the_host_network():
    groups = {
        key
        for peer in into(rendered("network-openshift"), "gateway", 8080)
        for key in peer.get("namespaceSelector", {}).get("matchLabels", {})
        if peer.get("podSelector") == {}  # without it OpenShift leaves pods of the host network out
    }
    assert groups == {f"policy-group.network.openshift.io/{group}" for group in ("ingress", "host-network")}


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("none", {NAMESPACE, "monitoring"}),
        ("gke", {NAMESPACE, "monitoring"}),
        ("openshift", {NAMESPACE, "openshift-monitoring", "openshift-user-workload-monitoring"}),
    ],
)
def test_metrics_are_read_by_the_prometheus_of_named_namespaces_alone(preset, expected):
    assert scrapers(rendered(CASE_OF[preset])) == expected


def scrapers(documents) -> set[str]:
    """Namespaces whose Prometheus may scrape, of every service the same."""
    found = [
        {peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for peer in into(documents, pod, port)
         if peer["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "prometheus"}}
        for pod, port in (("step-blur", 9100), ("coordinator", 9101))
    ]  # fmt: skip
    assert found[0] == found[1]
    return found[0]


def test_other_scrapers_are_named_by_their_namespace_or_as_peers():
    done = template("--set", "networkPolicy.prometheusNamespaces={metrics,watch}")
    assert scrapers(load(done.stdout)) == {NAMESPACE, "metrics", "watch"}
    peer = {"namespaceSelector": {"matchLabels": {"team": "watch"}}}
    done = template("--set-json", "networkPolicy.prometheusFrom=" + json.dumps([peer]))
    assert into(load(done.stdout), "step-blur", 9100) == [peer]


def test_what_the_values_say_goes_before_the_preset():
    assert {peer["ipBlock"]["cidr"] for peer in into(rendered("network-gke-keys"), "gateway", 8080)
            if "ipBlock" in peer} == {"10.8.0.0/16"}  # fmt: skip
    assert {place for place in places("network-gke-keys") if place.startswith("53 ")} == {"53 10.0.0.10/32"}


def test_only_the_gateway_is_open_to_addresses():
    for preset in PRESETS:
        for policy in of_kind(rendered(CASE_OF[preset]), "NetworkPolicy"):
            if not policy["metadata"]["name"].endswith("-gateway"):
                assert not [peer for rule in policy["spec"].get("ingress") or () for peer in rule["from"]
                            if "ipBlock" in peer]  # fmt: skip


def test_a_cloud_that_has_no_preset_is_refused():
    done = template("--set", "networkPolicy.preset=azure")
    assert done.returncode != 0
    assert "/networkPolicy/preset" in done.stderr


def known() -> Document:
    found: Document = yaml.safe_load((CHART / "files" / "network" / "presets.yaml").read_text())
    return found


def test_schema_and_presets_have_the_same_names():
    assert set(known()) == set(PRESETS)


def test_the_guide_explains_every_preset_and_every_address():
    text = (ROOT / "docs" / "guides" / "network.md").read_text()
    for preset, rules in known().items():
        assert f"`{preset}`" in text
        peers = [*rules["gatewayFrom"], *(peer for key in ("dnsTo", "identityTo") for rule in rules[key]
                                          for peer in rule["to"])]  # fmt: skip
        for peer in peers:
            if "ipBlock" in peer:
                assert peer["ipBlock"]["cidr"].removesuffix("/32").removesuffix("/128") in text
