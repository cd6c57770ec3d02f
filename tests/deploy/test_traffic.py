"""Default deny both ways: what may talk is a list, and the list is short."""

import pytest
from tests.deploy.chart import CASES, NAMESPACE, pods, rendered, values_of
from tests.deploy.policies import pod_labels
from tests.deploy.traffic import flows, isolated, outside

from muniflow.runtime.settings import read_env
from muniflow_coordinator.settings import CoordinatorSettings

DNS = ("53 kube-system", "53 169.254.20.10/32")
"""The cluster's DNS, and its cache on each node."""
STEPS = ("step-blur", "step-resize", "step-split")


def test_the_default_installation_talks_like_this_and_no_other_way():
    services = (*STEPS, "coordinator", "gateway", "test")
    assert flows(rendered("default")) == {
        *(f"{service} > broker:5672" for service in services),
        *(f"{service} > store:7070" for service in services),
        "coordinator > broker:15692",
        "test > coordinator:9100",
        "test > gateway:8080",
        "gateway > coordinator:9100",
    }


def test_nothing_leaves_the_default_installation_but_questions_to_dns():
    services = (*STEPS, "coordinator", "gateway", "test")
    assert outside(rendered("default")) == {f"{service}:{dns}" for service in services for dns in DNS}


def test_with_cloud_services_workers_reach_the_store_and_only_the_coordinator_its_database():
    assert outside(rendered("operator-tls-postgres-s3")) == {
        *(f"{service}:{port}" for service in (*STEPS, "coordinator", "gateway", "test") for port in (*DNS, 443)),
        "coordinator:5432",
        *(f"broker:{port}" for port in (*DNS, 443, 6443)),
    }


def test_with_a_lease_only_the_coordinator_reaches_the_api_server():
    allowed = outside(rendered("postgres-lease"))
    assert {flow for flow in allowed if flow.endswith((":443", ":6443"))} == {
        "imagery-coordinator:443",
        "imagery-coordinator:6443",
    }
    assert not {flow for flow in outside(rendered("postgres-standby")) if flow.endswith((":443", ":6443"))}


def test_only_the_coordinator_sends_webhooks_and_only_where_hosts_are_named():
    ways = {flow for flow in outside(rendered("webhooks")) if "0.0.0.0/0" in flow or "::/0" in flow}
    assert ways == {"coordinator:443 0.0.0.0/0", "coordinator:443 ::/0"}
    assert not {flow for flow in outside(rendered("default")) if "/0" in flow}
    pod = pods(rendered("webhooks"))["StatefulSet/muniflow-coordinator"]["spec"]
    variables = {item["name"]: item.get("value") for item in pod["containers"][0]["env"]}
    assert variables["MUNIFLOW_WEBHOOK_HOSTS"] == "hooks.example.org,hooks.example.net:8443"
    assert variables["MUNIFLOW_WEBHOOK_NETWORKS"] == "10.20.0.0/16"
    (volume,) = (volume for volume in pod["volumes"] if volume["name"] == "webhooks")
    assert volume["secret"]["secretName"] == "webhooks"
    assert variables["MUNIFLOW_WEBHOOKS_FILE"] == "/etc/muniflow/webhooks/webhooks.json"
    settings = {name: value for name, value in variables.items() if name.startswith("MUNIFLOW_WEBHOOK_")}
    read = read_env(CoordinatorSettings, settings)
    assert (read.webhook_max_age_hours, read.webhook_loopback) == (24.0, False)


def test_a_standby_reaches_the_coordinator_that_works():
    asks = "coordinator > coordinator:9100"
    assert asks in flows(rendered("postgres-standby"))
    assert asks not in flows(rendered("default")), "with SQLite there is one"
    pod = pods(rendered("postgres-standby"))["StatefulSet/muniflow-coordinator"]
    variables = {item["name"]: item for item in pod["spec"]["containers"][0]["env"]}
    assert variables["MUNIFLOW_PEER_HOST"]["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}


def test_only_the_encrypted_port_is_open_with_tls():
    assert {flow for flow in flows(rendered("builtin-tls")) if "broker:567" in flow} == {
        f"{service} > broker:5671" for service in (*STEPS, "coordinator", "gateway", "test")
    }


def test_the_gateway_asks_the_coordinator_and_is_asked_from_outside():
    allowed = flows(rendered("gcs-gateway-ingress"))
    assert "gateway > coordinator:9100" in allowed
    assert {flow for flow in allowed if flow.endswith("> gateway:8080")} == {"test > gateway:8080"}


@pytest.mark.parametrize("case", [case for case in CASES if values_of(case).get("networkPolicy", {}).get("enabled", 1)])
def test_every_pod_is_closed_in_both_directions(case):
    closed = isolated(rendered(case))
    assert set(closed) == {name.split("/")[1].removeprefix("muniflow-") for name in pod_labels(rendered(case))}
    assert all(directions == {"Ingress", "Egress"} for directions in closed.values()), (NAMESPACE, closed)
