"""What must hold for every rendering, as functions from documents to sentences about what is wrong."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tests.deploy.chart import Document, containers, name_of, of_kind, pods

Policy = Callable[[Sequence[Document]], Iterator[str]]
SCALERS = ("ScaledObject", "HorizontalPodAutoscaler")
MAX_NAME = 63


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects these labels."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_holds(rule, labels) for rule in selector.get("matchExpressions") or ())


def _holds(rule: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value = labels.get(rule["key"])
    match rule["operator"]:
        case "In":
            return value in rule["values"]
        case "NotIn":
            return value not in rule["values"]
        case "Exists":
            return value is not None
        case _:
            return value is None


def pod_labels(documents: Sequence[Document]) -> dict[str, dict[str, str]]:
    """Labels of all pods, those that the RabbitMQ operator makes included."""
    found = {name: dict(pod["metadata"]["labels"]) for name, pod in pods(documents).items()}
    for cluster in of_kind(documents, "RabbitmqCluster"):
        found[name_of(cluster)] = {"app.kubernetes.io/name": cluster["metadata"]["name"]}
    return found


def restricted(documents: Sequence[Document]) -> Iterator[str]:
    """The `restricted` pod security standard, and more: read-only root, no token."""
    for name, pod in pods(documents).items():
        spec = pod["spec"]
        security = spec.get("securityContext", {})
        if security.get("runAsNonRoot") is not True or security.get("runAsUser") == 0:
            yield f"{name}: may run as root"
        if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{name}: no seccomp profile"
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{name}: gets a token for the API server"
        if any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{name}: shares a namespace with its node"
        for container in containers(pod):
            wanted = {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            if container.get("securityContext") != wanted:
                yield f"{name}/{container['name']}: security context is not the strict one"


def secrets(documents: Sequence[Document]) -> Iterator[str]:
    """Secrets are files that only the pod's own user may read, never variables; the name of a user is none."""
    for name, pod in pods(documents).items():
        for container in containers(pod):
            keys = (item.get("valueFrom", {}).get("secretKeyRef", {}) for item in container.get("env", ()))
            if container.get("envFrom") or any(key.get("key", "username") != "username" for key in keys):
                yield f"{name}/{container['name']}: a secret in a variable"
        for volume in pod["spec"].get("volumes", ()):
            sources = volume.get("projected", {}).get("sources", [volume])
            mode = volume.get("projected", volume.get("secret", {})).get("defaultMode")
            if any("secret" in source for source in sources) and mode not in {0o400, 0o440}:
                yield f"{name}: the files of {volume['name']} can be read by others"


def volumes(documents: Sequence[Document]) -> Iterator[str]:
    """No host paths, no emptyDir on disk (it blocks scale-down), every one bounded; every mount has its volume."""
    for name, pod in pods(documents).items():
        claims = {
            record["metadata"]["name"]
            for document in documents
            if name_of(document) == name
            for record in document["spec"].get("volumeClaimTemplates", ())
        }
        listed = {volume["name"]: volume for volume in pod["spec"].get("volumes", ())}
        for volume in listed.values():
            if "hostPath" in volume:
                yield f"{name}: mounts a path of its node"
            empty = volume.get("emptyDir")
            if empty is not None and (empty.get("medium") != "Memory" or "sizeLimit" not in empty):
                yield f"{name}: emptyDir {volume['name']} is on disk or unbounded"
        for container in containers(pod):
            for mount in container.get("volumeMounts", ()):
                if mount["name"] not in listed.keys() | claims:
                    yield f"{name}/{container['name']}: no volume {mount['name']}"


def resources(documents: Sequence[Document]) -> Iterator[str]:
    """Requests for the scheduler, a memory limit for the neighbours."""
    for name, pod in pods(documents).items():
        for container in containers(pod):
            stated = container.get("resources", {})
            if not {"cpu", "memory"} <= stated.get("requests", {}).keys() or "memory" not in stated.get("limits", {}):
                yield f"{name}/{container['name']}: requests or memory limit missing"


def probed(documents: Sequence[Document]) -> Iterator[str]:
    """Long-running containers have three probes; liveness asks no broker."""
    for name, pod in pods(documents).items():
        if name.startswith("Pod/"):
            continue
        for container in pod["spec"]["containers"]:
            missing = {"startupProbe", "livenessProbe", "readinessProbe"} - container.keys()
            if missing:
                yield f"{name}/{container['name']}: no {', '.join(sorted(missing))}"
            if container.get("livenessProbe", {}).get("httpGet", {}).get("path") == "/readyz":
                yield f"{name}/{container['name']}: liveness depends on what readiness depends on"


def selectors(documents: Sequence[Document]) -> Iterator[str]:
    """Every selector selects a pod that is there."""
    labels = list(pod_labels(documents).values())
    for document in documents:
        for where, selector in _selectors(document):
            if selector and not any(matches(selector, pod) for pod in labels):
                yield f"{name_of(document)}: {where} selects nothing"


def _selectors(document: Document) -> Iterator[tuple[str, Mapping[str, Any]]]:
    spec = document.get("spec", {})
    match document["kind"]:
        case "Service":
            yield "selector", {"matchLabels": spec["selector"]}
        case "Deployment" | "StatefulSet":
            yield "selector", spec["selector"]
            for constraint in spec["template"]["spec"].get("topologySpreadConstraints", ()):
                yield "topologySpreadConstraints", constraint["labelSelector"]
        case "PodDisruptionBudget" | "PodMonitor":
            yield "selector", spec["selector"]
        case "NetworkPolicy":
            yield "podSelector", spec["podSelector"]
            for rule in (*(spec.get("ingress") or ()), *(spec.get("egress") or ())):
                for peer in (*rule.get("from", ()), *rule.get("to", ())):
                    if peer.keys().isdisjoint({"namespaceSelector", "ipBlock"}):
                        yield "peer", peer["podSelector"]


def services(documents: Sequence[Document]) -> Iterator[str]:
    """Ports that Services, monitors and probes name are ports of the pods they select."""
    templates = pods(documents).values()
    for document in of_kind(documents, "Service"):
        selected = [pod for pod in templates if matches({"matchLabels": document["spec"]["selector"]}, _labels(pod))]
        for pod in selected:
            for port in document["spec"]["ports"]:
                if port["targetPort"] not in _ports(pod):
                    yield f"{name_of(document)}: no port {port['targetPort']}"
    for name, pod in pods(documents).items():
        for container in pod["spec"]["containers"]:
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                check = container.get(probe, {})
                port = (check.get("httpGet") or check.get("tcpSocket") or {}).get("port")
                if port is not None and port not in _ports(pod):
                    yield f"{name}: {probe} asks port {port}, which is none of its ports"


def monitored(documents: Sequence[Document]) -> Iterator[str]:
    """A ServiceMonitor finds a Service with its port."""
    for monitor in of_kind(documents, "ServiceMonitor"):
        found = [
            service
            for service in of_kind(documents, "Service")
            if matches(monitor["spec"]["selector"], service["metadata"]["labels"])
        ]
        ports = {port["name"] for service in found for port in service["spec"]["ports"]}
        for endpoint in monitor["spec"]["endpoints"]:
            if endpoint["port"] not in ports:
                yield f"{name_of(monitor)}: no Service with port {endpoint['port']}"


def _labels(pod: Document) -> Mapping[str, str]:
    labels: Mapping[str, str] = pod["metadata"]["labels"]
    return labels


def _ports(pod: Document) -> set[str]:
    return {port["name"] for container in pod["spec"]["containers"] for port in container.get("ports", ())}


def tokens(documents: Sequence[Document]) -> Iterator[str]:
    """Who has a token for the API server has a Role, and the other way round; Roles name what they allow."""
    roles = {role["metadata"]["name"]: role for role in of_kind(documents, "Role")}
    bound = set()
    for binding in of_kind(documents, "RoleBinding"):
        if binding["roleRef"]["name"] not in roles:
            yield f"{name_of(binding)}: no Role {binding['roleRef']['name']}"
        bound |= {subject["name"] for subject in binding["subjects"]}
    holders = {pod["spec"]["serviceAccountName"] for pod in pods(documents).values() if _has_token(pod)}
    yield from (f"ServiceAccount/{name}: has a token and no Role" for name in sorted(holders - bound))
    yield from (f"ServiceAccount/{name}: has a Role and no token" for name in sorted(bound - holders))
    for name, role in roles.items():
        if any("*" in item for rule in role["rules"] for item in rule.values()):
            yield f"Role/{name}: allows more than it names"


def _has_token(pod: Document) -> bool:
    return any(
        "serviceAccountToken" in source
        for volume in pod["spec"].get("volumes", ())
        for source in volume.get("projected", {}).get("sources", ())
    )


def accounts(documents: Sequence[Document]) -> Iterator[str]:
    """Every pod has a service account of its own, and it exists."""
    there = {document["metadata"]["name"] for document in of_kind(documents, "ServiceAccount")}
    used = Counter(pod["spec"].get("serviceAccountName", "default") for pod in pods(documents).values())
    for account, times in used.items():
        if account not in there:
            yield f"ServiceAccount/{account}: does not exist"
        if times > 1:
            yield f"ServiceAccount/{account}: shared by {times} workloads"
    for account in there - used.keys():
        yield f"ServiceAccount/{account}: nothing uses it"


def scaled(documents: Sequence[Document]) -> Iterator[str]:
    """A scaler's target exists, has one scaler only and states no replicas of its own."""
    deployments = {document["metadata"]["name"]: document for document in of_kind(documents, "Deployment")}
    targets = Counter(document["spec"]["scaleTargetRef"]["name"] for document in of_kind(documents, *SCALERS))
    for target, times in targets.items():
        if target not in deployments:
            yield f"Deployment/{target}: is scaled and does not exist"
        elif "replicas" in deployments[target]["spec"]:
            yield f"Deployment/{target}: is scaled and states replicas"
        if times > 1:
            yield f"Deployment/{target}: has {times} scalers"
    authentications = {document["metadata"]["name"] for document in of_kind(documents, "TriggerAuthentication")}
    for document in of_kind(documents, "ScaledObject"):
        for trigger in document["spec"]["triggers"]:
            wanted = trigger.get("authenticationRef", {}).get("name")
            if wanted and wanted not in authentications:
                yield f"{name_of(document)}: no TriggerAuthentication {wanted}"


def named(documents: Sequence[Document]) -> Iterator[str]:
    """Names are unique, short enough for every use, and in a namespace."""
    for name, times in Counter(map(name_of, documents)).items():
        if times > 1:
            yield f"{name}: rendered {times} times"
    for document in documents:
        if len(document["metadata"]["name"]) > MAX_NAME:
            yield f"{name_of(document)}: the name is too long"
        if not document["metadata"].get("namespace"):
            yield f"{name_of(document)}: no namespace"


def budgets(documents: Sequence[Document]) -> Iterator[str]:
    """Every workload has one disruption budget, or none has."""
    found = of_kind(documents, "PodDisruptionBudget")
    for name, pod in pods(documents).items():
        count = sum(matches(document["spec"]["selector"], _labels(pod)) for document in found)
        if found and not name.startswith("Pod/") and count != 1:
            yield f"{name}: {count} disruption budgets"


def graceful(documents: Sequence[Document]) -> Iterator[str]:
    """Pods get time to finish."""
    least_s = 30
    for name, pod in pods(documents).items():
        if not name.startswith("Pod/") and pod["spec"].get("terminationGracePeriodSeconds", 0) < least_s:
            yield f"{name}: less than {least_s} s to end"


POLICIES: tuple[Policy, ...] = (
    restricted, secrets, volumes, resources, probed, selectors, services, monitored, tokens, accounts, scaled, named,
    budgets, graceful,
)  # fmt: skip
