"""`broker.vhost: /`, RabbitMQ's own default, is a virtual host like any other."""

import json
from urllib.parse import unquote

import pika
import pytest
from tests.deploy.chart import environment, of_kind, pods, rendered, template


@pytest.mark.parametrize("case", ["vhost-root", "operator-vhost-root"])
def test_every_service_connects_to_it(case):
    for name, pod in pods(rendered(case)).items():
        url = environment(pod).get("MUNIFLOW_AMQP_URL")
        if url:
            assert pika.URLParameters(url).virtual_host == "/", name


def test_the_built_in_broker_makes_it_and_gives_rights_in_it():
    (config,) = (item for item in of_kind(rendered("vhost-root"), "ConfigMap") if "definitions.json" in item["data"])
    definitions = json.loads(config["data"]["definitions.json"])
    assert definitions["vhosts"] == [{"name": "/"}]
    assert {item["vhost"] for item in definitions["permissions"]} == {"/"}


def test_the_operator_makes_it_and_gives_rights_in_it():
    documents = rendered("operator-vhost-root")
    assert [item["spec"]["name"] for item in of_kind(documents, "Vhost")] == ["/"]
    assert {item["spec"]["vhost"] for item in of_kind(documents, "Permission")} == {"/"}


def test_keda_and_prometheus_ask_for_it():
    documents = rendered("vhost-root")
    for item in of_kind(documents, "ScaledObject"):
        assert {unquote(trigger["metadata"]["vhostName"]) for trigger in item["spec"]["triggers"]} == {"/"}
    asked = [
        endpoint["params"]["vhost"]
        for item in of_kind(documents, "ServiceMonitor", "PodMonitor")
        for endpoint in item["spec"].get("endpoints", item["spec"].get("podMetricsEndpoints", ()))
        if "vhost" in endpoint.get("params", {})
    ]
    assert asked == [["/"]]


@pytest.mark.parametrize("bad", ["", "//", "a/b", "a b"])
def test_other_names_are_refused(bad):
    done = template("--set-string", f"broker.vhost={bad}")
    assert done.returncode != 0
    assert "/broker/vhost" in done.stderr
