"""`helm upgrade` to a scaled stage keeps the replicas that run: rendered against a cluster that has Deployments."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from tests.deploy.api_server import serving
from tests.deploy.chart import NAMESPACE, RELEASE, Document, load, of_kind, template

from muniflow.runtime.signing import read_signing_keys, read_verify_keys

Fields = Mapping[str, Mapping[str, Mapping[str, Any]]]

TEMPLATE: Fields = {"f:spec": {"f:template": {}}}
REPLICAS: Fields = {"f:spec": {"f:replicas": {}}}
BOTH: Fields = {"f:spec": {"f:template": {}, "f:replicas": {}}}

OURS = {
    "labels": {"app.kubernetes.io/managed-by": "Helm"},
    "annotations": {"meta.helm.sh/release-name": RELEASE, "meta.helm.sh/release-namespace": NAMESPACE},
}
"""Metadata by which helm knows its own."""

Owners = Sequence[Mapping[str, Any]]
"""`managedFields` of a Deployment: who wrote which of its fields."""

HELM_3: Owners = [{"manager": "helm", "operation": "Update", "fieldsV1": BOTH}]
HELM_3_THEN_HPA: Owners = [
    {"manager": "helm", "operation": "Update", "fieldsV1": TEMPLATE},
    {"manager": "kube-controller-manager", "operation": "Update", "subresource": "scale", "fieldsV1": REPLICAS},
]
HELM_4: Owners = [{"manager": "helm", "operation": "Apply", "fieldsV1": BOTH}]
HELM_4_THEN_HPA: Owners = [
    {"manager": "helm", "operation": "Apply", "fieldsV1": TEMPLATE},
    {"manager": "kube-controller-manager", "operation": "Update", "subresource": "scale", "fieldsV1": REPLICAS},
]


def deployment(part: str, replicas: int, owners: Owners) -> tuple[str, Mapping[str, Any]]:
    name = f"muniflow-{part}"
    return f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{name}", {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "managedFields": owners,
            **OURS,
        },
        "spec": {"replicas": replicas},
    }


def upgraded(settings: Sequence[str], *running: tuple[str, Mapping[str, Any]]) -> Sequence[Document]:
    """The rendering where these resources are in the cluster."""
    flags = [part for setting in settings for part in ("--set", setting)]
    with serving(dict(running)) as url:
        done = template(*flags, "--dry-run=server", "--disable-openapi-validation", "--kube-apiserver", url)
    assert done.returncode == 0, done.stderr
    return load(done.stdout)


def stated(settings: Sequence[str], *running: tuple[str, Mapping[str, Any]]) -> dict[str, int | None]:
    """Replicas that each Deployment of the rendering states, by its part's name."""
    return {
        item["metadata"]["name"].removeprefix("muniflow-"): item["spec"].get("replicas")
        for item in of_kind(upgraded(settings, *running), "Deployment")
    }


@pytest.mark.parametrize("mode", ["keda", "hpa"])
@pytest.mark.parametrize("owners", [HELM_3, HELM_3_THEN_HPA, HELM_4], ids=["helm 3", "helm 3, scaled", "helm 4"])
def test_a_stage_keeps_its_count_when_scaling_is_switched_on(mode, owners):
    found = stated([f"autoscaling.mode={mode}"], deployment("step-blur", 6, owners))
    assert found["step-blur"] == 6, "without it the field goes, and Kubernetes says 1"
    assert found["step-resize"] is None, "not there yet: the first install has one pod"


@pytest.mark.parametrize("mode", ["keda", "hpa"])
def test_a_count_that_the_scaler_owns_is_left_to_it(mode):
    # Server-side apply refuses a number other than the scaler's; to leave it out then changes nothing.
    found = stated([f"autoscaling.mode={mode}"], deployment("step-blur", 6, HELM_4_THEN_HPA))
    assert found["step-blur"] is None


def test_a_stage_at_zero_stays_there_with_keda_and_wakes_for_an_hpa():
    # An HPA does nothing for a Deployment at 0, for ever.
    blur = deployment("step-blur", 0, HELM_3)
    assert stated(["autoscaling.mode=keda"], blur)["step-blur"] == 0
    assert stated(["autoscaling.mode=hpa"], blur)["step-blur"] == 1


def test_an_hpa_wakes_a_stage_that_keda_had_at_zero():
    assert stated(["autoscaling.mode=hpa"], deployment("step-blur", 0, HELM_4_THEN_HPA))["step-blur"] == 1


def test_the_gateway_keeps_its_count_too():
    found = stated(["gateway.scaling.enabled=true"], deployment("gateway", 4, HELM_3))
    assert found["gateway"] == 4


def test_without_scaling_the_values_say_how_many():
    found = stated(["steps.blur.replicas=3"], deployment("step-blur", 6, HELM_3), deployment("gateway", 4, HELM_3))
    assert (found["step-blur"], found["gateway"]) == (3, 2)


def keys_of(kind: str, name: str, content: str) -> tuple[str, Mapping[str, Any]]:
    return f"/api/v1/namespaces/{NAMESPACE}/{kind.lower()}s/muniflow-{name}", {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": f"muniflow-{name}", "namespace": NAMESPACE, **OURS},
        "data": {f"{name}.pem": content},
    }


def test_the_keys_that_tasks_are_signed_with_fit_together_and_are_kept_as_they_were_rotated():
    private, public = _keys(upgraded([]))
    (key,) = read_signing_keys(base64.b64decode(private))
    assert list(read_verify_keys(public.encode())) == [key.id]

    secret = keys_of("Secret", "signing-keys", private)
    assert _keys(upgraded([], secret, keys_of("ConfigMap", "verify-keys", public))) == (private, public)
    assert _keys(upgraded([], secret)) != (private, public), "half of a pair is no use"


def _keys(documents: Sequence[Document]) -> tuple[str, str]:
    found = {item["metadata"]["name"]: item for item in of_kind(documents, "Secret", "ConfigMap")}
    private, public = (found[f"muniflow-{name}"]["data"][f"{name}.pem"] for name in ("signing-keys", "verify-keys"))
    return private, public
