"""Each policy finds the fault that it is there for: a rendering is broken on purpose in one place."""

import copy

import pytest
from tests.deploy import policies
from tests.deploy.chart import of_kind, rendered
from tests.deploy.resource_schemas import problems


def _worker(documents):
    return next(item for item in of_kind(documents, "Deployment") if item["metadata"]["name"].endswith("step-blur"))


def _pod(documents):
    return _worker(documents)["spec"]["template"]["spec"]


def _first(documents, kind):
    return of_kind(documents, kind)[0]


BREAKS = [
    (policies.restricted, lambda d: _pod(d)["securityContext"].update(runAsNonRoot=False), "may run as root"),
    (policies.restricted, lambda d: _pod(d).pop("automountServiceAccountToken"), "token"),
    (policies.restricted, lambda d: _pod(d)["containers"][0]["securityContext"].pop("capabilities"), "strict"),
    (policies.secrets, lambda d: _pod(d)["containers"][0].update(envFrom=[{"secretRef": {"name": "x"}}]), "variable"),
    (policies.secrets, lambda d: _pod(d)["containers"][0]["env"].append(
        {"name": "X", "valueFrom": {"secretKeyRef": {"name": "x", "key": "x"}}}), "variable"),
    (policies.secrets, lambda d: _pod(d)["volumes"].append({"name": "x", "secret": {"secretName": "x"}}), "by others"),
    (policies.volumes, lambda d: _pod(d)["volumes"].append({"name": "x", "emptyDir": {}}), "on disk"),
    (policies.volumes, lambda d: _pod(d)["volumes"].pop(0), "no volume scratch"),
    (policies.resources, lambda d: _pod(d)["containers"][0]["resources"].pop("limits"), "memory limit"),
    (policies.probed, lambda d: _pod(d)["containers"][0].pop("readinessProbe"), "no readinessProbe"),
    (policies.selectors, lambda d: _first(d, "Service")["spec"]["selector"].update(app="x"), "selects nothing"),
    (policies.selectors, lambda d: _first(d, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].update(a="b"),
     "selects nothing"),
    (policies.services, lambda d: _first(d, "Service")["spec"]["ports"][0].update(targetPort="x"), "no port x"),
    (policies.monitored, lambda d: _first(d, "ServiceMonitor")["spec"]["endpoints"][0].update(port="x"), "port x"),
    (policies.tokens, lambda d: _first(d, "RoleBinding")["roleRef"].update(name="x"), "no Role x"),
    (policies.tokens, lambda d: d.remove(_first(d, "RoleBinding")), "a token and no Role"),
    (policies.tokens, lambda d: _first(d, "StatefulSet")["spec"]["template"]["spec"].pop("volumes"), "no token"),
    (policies.tokens, lambda d: _first(d, "Role")["rules"][0].update(verbs=["*"]), "more than it names"),
    (policies.accounts, lambda d: _pod(d).update(serviceAccountName="x"), "does not exist"),
    (policies.scaled, lambda d: _worker(d)["spec"].update(replicas=1), "states replicas"),
    (policies.scaled, lambda d: _first(d, "ScaledObject")["spec"]["scaleTargetRef"].update(name="x"), "does not exist"),
    (policies.named, lambda d: d.append(_worker(d)), "rendered 2 times"),
    (policies.budgets, lambda d: d.remove(_first(d, "PodDisruptionBudget")), "0 disruption budgets"),
    (policies.graceful, lambda d: _pod(d).update(terminationGracePeriodSeconds=5), "less than 30 s"),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "damage", "complaint"), BREAKS)
def test_a_policy_finds_its_fault(policy, damage, complaint):
    documents = copy.deepcopy(list(rendered("postgres-lease" if policy is policies.tokens else "keda-prometheus")))
    assert list(policy(documents)) == []
    damage(documents)
    assert any(complaint in found for found in policy(documents))


def test_every_policy_is_tried():
    assert {policy for policy, *_ in BREAKS} == set(policies.POLICIES)


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("Deployment", lambda item: item["spec"].update(replicaCount=1)),
        ("NetworkPolicy", lambda item: item["spec"].update(egres=[])),
        ("ScaledObject", lambda item: item["spec"].update(minReplicas=1)),
        ("ScaledObject", lambda item: item["spec"]["triggers"][0]["metadata"].update(treshold="1")),
        ("PodMonitor", lambda item: item["spec"].update(endpoints=[])),
        ("PrometheusRule", lambda item: item["spec"]["groups"][0]["rules"][0].pop("expr")),
        ("ServiceMonitor", lambda item: item.update(apiVersion="monitoring.coreos.com/v2")),
    ],
)
def test_a_schema_finds_a_wrong_field(kind, damage):
    document = copy.deepcopy(_first(rendered("keda-prometheus"), kind))
    assert problems(document, "1.33") == ()
    damage(document)
    assert problems(document, "1.33")
