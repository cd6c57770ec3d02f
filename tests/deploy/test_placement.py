"""Where stages run: a pool of deploy/k8s/node-pools takes its stages alone; a stage's word is the last."""

import re
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml
from tests.deploy.chart import ROOT, Document, load, pods, rendered, template
from tests.deploy.placement import UNITS, Node, Taint, misfits, quantity

POOLS = ROOT / "deploy" / "k8s" / "node-pools"
GPU = "nvidia.com/gpu"
GPU_TAINT = Taint(GPU, "present")
GKE_SPOT = Taint("cloud.google.com/gke-spot", "true")
"""On spot nodes that node auto-provisioning makes, and on those of many hand-made pools."""


def node(labels: Mapping[str, str], taints: tuple[Taint, ...], *, gpus: int = 0) -> Node:
    # The smallest machine of each kind in the files: 8 CPUs and 16 GiB, or 4 and 16 with a GPU.
    return Node(labels, taints, {"cpu": 4 if gpus else 8, "memory": 16 * UNITS["Gi"], GPU: gpus})


ORDINARY = node({}, ())


def pairs(text: str) -> dict[str, str]:
    return dict(item.split("=") for item in text.split(","))


def option(command: str, *names: str) -> str:
    (found,) = re.findall(rf"--(?:{'|'.join(names)})[ =](\S+)", command)
    return str(found)


def taints_of(listed: list[dict[str, str]]) -> tuple[Taint, ...]:
    return tuple(Taint(item["key"], item.get("value", ""), item["effect"]) for item in listed)


def commands(path: str, verb: str) -> list[str]:
    """The commands of a shell script that begin so, each on one line."""
    text = (POOLS / path).read_text().replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if line.strip().startswith(verb)]


def gke_pools() -> tuple[Node, Node]:
    cpu, gpu = commands("gke/node-pools.sh", "gcloud container node-pools create")
    kind = re.findall(r"--accelerator type=([\w-]+)", gpu)
    labels = {**pairs(option(gpu, "node-labels")), "cloud.google.com/gke-accelerator": kind[0]}
    return (
        node(pairs(option(cpu, "node-labels")), (Taint.parse(option(cpu, "node-taints")), GKE_SPOT)),
        node(labels, (GPU_TAINT, GKE_SPOT), gpus=1),
    )


def gke_classes() -> tuple[Node, Node]:
    classes = load((POOLS / "gke" / "compute-classes.yaml").read_text())
    key = "cloud.google.com/compute-class"
    cpu, gpu = (item["metadata"]["name"] for item in classes)
    kind = classes[1]["spec"]["priorities"][0]["gpu"]["type"]
    return (
        node({key: cpu}, (Taint(key, cpu), GKE_SPOT)),
        node(
            {key: gpu, "cloud.google.com/gke-accelerator": kind}, (Taint(key, gpu), GPU_TAINT, GKE_SPOT), gpus=1
        ),
    )  # fmt: skip


def eks_groups() -> tuple[Node, Node]:
    (config,) = load((POOLS / "eks" / "managed-groups.yaml").read_text())
    cpu, gpu = config["managedNodeGroups"]
    return node(cpu["labels"], taints_of(cpu["taints"])), node(gpu["labels"], taints_of(gpu["taints"]), gpus=1)


def eks_karpenter() -> tuple[Node, Node]:
    documents = load((POOLS / "eks" / "karpenter.yaml").read_text())
    cpu, gpu = (item["spec"]["template"] for item in documents if item["kind"] == "NodePool")
    return (
        node(cpu["metadata"]["labels"], taints_of(cpu["spec"]["taints"])),
        node(gpu["metadata"]["labels"], taints_of(gpu["spec"]["taints"]), gpus=1),
    )


def aks_pools() -> tuple[Node, Node]:
    cpu, gpu = commands("aks/node-pools.sh", "az aks nodepool add")
    found = [
        node(pairs(option(pool, "labels")), tuple(map(Taint.parse, option(pool, "node-taints").split(","))), gpus=gpus)
        for pool, gpus in ((cpu, 0), (gpu, 1))
    ]
    assert "--priority Spot" not in cpu or "kubernetes.azure.com/scalesetpriority=spot" in option(cpu, "node-taints")
    return found[0], found[1]


def own_nodes() -> tuple[Node, Node]:
    labels = [pairs(line.split()[-1]) for line in commands("own/label-nodes.sh", "kubectl label")]
    taints = [(Taint.parse(line.split()[-1]),) for line in commands("own/label-nodes.sh", "kubectl taint")]
    return node(labels[0], taints[0]), node(labels[1], taints[1], gpus=1)


CLOUDS: list[tuple[str, Callable[[], tuple[Node, Node]]]] = [
    ("pools-gke", gke_pools),
    ("pools-gke-classes", gke_classes),
    ("pools-eks", eks_groups),
    ("pools-eks", eks_karpenter),
    ("pools-aks", aks_pools),
    ("pools-own", own_nodes),
]


@pytest.mark.parametrize(("case", "pools"), CLOUDS)
def test_every_pod_has_one_pool(case, pools):
    cpu, gpu = pools()
    nodes = {"cpu": cpu, "gpu": gpu, "ordinary": ORDINARY}
    found = {}
    for name, pod in pods(rendered(case)).items():
        why = {place: list(misfits(pod, at)) for place, at in nodes.items()}
        assert any(not reasons for reasons in why.values()), f"{name} never schedules: {why}"
        found[name] = {place for place, reasons in why.items() if not reasons}
    steps = {name: places for name, places in found.items() if "-step-" in name}
    assert steps == {
        "Deployment/muniflow-step-blur": {"gpu"},
        "Deployment/muniflow-step-resize": {"cpu"},
        "Deployment/muniflow-step-split": {"cpu"},
    }
    assert all(places == {"ordinary"} for name, places in found.items() if name not in steps), found


def test_every_values_file_of_a_pool_is_tried():
    shipped = {path.resolve() for path in POOLS.glob("*/values*.yaml")}
    assert shipped == {(ROOT / "tests" / "deploy" / "values" / f"{case}.yaml").resolve() for case, _ in CLOUDS}


@pytest.mark.parametrize("path", sorted(POOLS.glob("*/*.sh")), ids=lambda path: path.parent.name)
def test_scripts_that_make_pools_parse(path):
    subprocess.run(["sh", "-n", path], check=True)


def test_the_tags_of_a_group_at_zero_say_what_its_nodes_are_like():
    (config,) = load((POOLS / "eks" / "managed-groups.yaml").read_text())
    template_of = "k8s.io/cluster-autoscaler/node-template"
    for group in config["managedNodeGroups"]:
        tags = {key: value for key, value in group["tags"].items() if key.startswith(template_of)}
        gpus = {f"{template_of}/resources/{GPU}": "1"} if "gpu" in group["name"] else {}
        assert tags == gpus | {
            **{f"{template_of}/label/{key}": value for key, value in group["labels"].items()},
            **{f"{template_of}/taint/{item['key']}": f"{item['value']}:{item['effect']}" for item in group["taints"]},
        }


CPU_POOL = {"muniflow/pool": "cpu"}
CPU_TOLERATION = {"key": "muniflow/pool", "operator": "Equal", "value": "cpu", "effect": "NoSchedule"}
SPOT = {"key": "spot", "operator": "Exists"}
NVIDIA = {"key": GPU, "operator": "Exists", "effect": "NoSchedule"}
BY_ARCH = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "arch", "operator": "Exists"}]}]
        }
    }
}
BESIDE: dict[str, Any] = {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}
GPU_ON = {"enabled": True}
GPU_POOL = {"muniflow/pool": "gpu"}
WORDS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "a stage that says nothing has the default's": (
        {"nodeSelector": CPU_POOL, "tolerations": [CPU_TOLERATION], "affinity": BY_ARCH}, {},
        {"nodeSelector": CPU_POOL, "tolerations": [CPU_TOLERATION], "affinity": BY_ARCH},
    ),
    "a selector is replaced, not joined": (
        {"nodeSelector": CPU_POOL}, {"nodeSelector": {"disk": "ssd"}}, {"nodeSelector": {"disk": "ssd"}},
    ),
    "an empty selector is none": ({"nodeSelector": CPU_POOL}, {"nodeSelector": {}}, {}),
    "tolerations are replaced": ({"tolerations": [CPU_TOLERATION]}, {"tolerations": [SPOT]}, {"tolerations": [SPOT]}),
    "no tolerations are none": ({"tolerations": [CPU_TOLERATION]}, {"tolerations": []}, {}),
    "affinity is replaced, not joined": ({"affinity": BY_ARCH}, {"affinity": BESIDE}, {"affinity": BESIDE}),
    "an empty affinity is none": ({"affinity": BY_ARCH}, {"affinity": {}}, {}),
    "a GPU stage's selector replaces the default": (
        {"nodeSelector": CPU_POOL}, {"gpu": {**GPU_ON, "nodeSelector": GPU_POOL}},
        {"nodeSelector": GPU_POOL, "tolerations": [NVIDIA]},
    ),
    "so does the one of all GPU stages": (
        {"nodeSelector": CPU_POOL, "gpu": {"nodeSelector": GPU_POOL}}, {"gpu": GPU_ON},
        {"nodeSelector": GPU_POOL, "tolerations": [NVIDIA]},
    ),
    "a GPU stage without a selector goes wherever there is a GPU": (
        {"nodeSelector": CPU_POOL, "affinity": BY_ARCH, "tolerations": [CPU_TOLERATION]}, {"gpu": GPU_ON},
        {"tolerations": [NVIDIA]},
    ),
    "a GPU stage's own placement is added to that of its GPU": (
        {"nodeSelector": CPU_POOL, "tolerations": [CPU_TOLERATION]},
        {"gpu": {**GPU_ON, "nodeSelector": GPU_POOL}, "nodeSelector": {"disk": "ssd"}, "tolerations": [SPOT],
         "affinity": BESIDE},
        {"nodeSelector": {**GPU_POOL, "disk": "ssd"}, "tolerations": [SPOT, NVIDIA], "affinity": BESIDE},
    ),
    "a stage's own selector beats the one of all GPU stages": (
        {"gpu": {"nodeSelector": GPU_POOL}}, {"gpu": GPU_ON, "nodeSelector": {"muniflow/pool": "big"}},
        {"nodeSelector": {"muniflow/pool": "big"}, "tolerations": [NVIDIA]},
    ),
    "a GPU stage replaces the selector of all GPU stages": (
        {"gpu": {"nodeSelector": {"accelerator": "l4"}}}, {"gpu": {**GPU_ON, "nodeSelector": GPU_POOL}},
        {"nodeSelector": GPU_POOL, "tolerations": [NVIDIA]},
    ),
    "GPU nodes without a taint": ({}, {"gpu": {**GPU_ON, "tolerations": []}}, {}),
    "a stage without GPU where all others have one": (
        {"gpu": {**GPU_ON, "nodeSelector": GPU_POOL}, "nodeSelector": CPU_POOL}, {"gpu": {"enabled": False}},
        {"nodeSelector": CPU_POOL},
    ),
}  # fmt: skip


def blur(tmp_path, defaults: dict[str, Any], own: dict[str, Any], **others: Any) -> tuple[Document, ...]:
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump({"stepDefaults": defaults, "steps": {"blur": own}, **others}))
    done = template("--values", path)
    assert done.returncode == 0, done.stderr
    return tuple(item for item in load(done.stdout) if item["metadata"]["name"] == "muniflow-step-blur")


@pytest.mark.parametrize(("defaults", "own", "expected"), WORDS.values(), ids=WORDS)
def test_what_a_stage_says_of_its_placement_replaces_the_default(tmp_path, defaults, own, expected):
    (pod,) = pods(blur(tmp_path, defaults, own)).values()
    assert {
        key: pod["spec"][key] for key in ("nodeSelector", "tolerations", "affinity") if key in pod["spec"]
    } == expected


def test_other_settings_are_joined_and_the_stage_wins_with_whatever_it_says(tmp_path):
    documents = blur(
        tmp_path,
        {"env": {"A": "1", "B": "1"}, "podLabels": {"a": "1"}, "podAnnotations": {"a": "1", "b": "1"},
         "resources": {"requests": {"cpu": "2"}}, "priorityClassName": "batch", "scaling": {"min": 1, "max": 7}},
        {"env": {"B": ""}, "podLabels": {"b": "2"}, "podAnnotations": {"b": ""},
         "resources": {"requests": {"memory": "2Gi"}}, "priorityClassName": "", "scaling": {"min": 0}},
        autoscaling={"mode": "keda"},
    )  # fmt: skip
    (pod,) = pods(documents).values()
    env = {item["name"]: item.get("value") for item in pod["spec"]["containers"][0]["env"]}
    assert (env["A"], env["B"]) == ("1", "")
    assert {"a": "1", "b": "2"}.items() <= pod["metadata"]["labels"].items()
    assert pod["metadata"]["annotations"] == {"a": "1", "b": ""}
    assert pod["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "2", "memory": "2Gi"}
    assert "priorityClassName" not in pod["spec"]
    (scaler,) = (item["spec"] for item in documents if item["kind"] == "ScaledObject")
    assert (scaler["minReplicaCount"], scaler["maxReplicaCount"]) == (0, 7)


def test_a_label_of_the_pods_beats_the_same_one_of_their_account(tmp_path):
    documents = blur(tmp_path, {}, {"podLabels": {"use": ""}}, serviceAccount={"labels": {"use": "true", "a": "1"}})
    (pod,) = pods(documents).values()
    assert {key: pod["metadata"]["labels"][key] for key in ("use", "a")} == {"use": "", "a": "1"}


def test_the_number_of_gpus_is_said_in_one_place(tmp_path):
    path = tmp_path / "values.yaml"
    path.write_text(
        yaml.safe_dump({"steps": {"blur": {"gpu": GPU_ON, "resources": {"limits": {"memory": "3Gi", GPU: "2"}}}}})
    )
    done = template("--values", path)
    assert done.returncode != 0
    assert f"steps.blur.resources.limits: {GPU} is set by gpu.count (1); leave it out here" in done.stderr


def test_a_stage_with_no_replicas_has_none(tmp_path):
    (deployment,) = (item for item in blur(tmp_path, {"replicas": 3}, {"replicas": 0}) if item["kind"] == "Deployment")
    assert deployment["spec"]["replicas"] == 0


@pytest.mark.parametrize(
    ("pod", "at", "why"),
    [
        ({}, ORDINARY, []),
        ({"nodeSelector": CPU_POOL}, ORDINARY, ["selects muniflow/pool=cpu"]),
        ({"affinity": BY_ARCH}, ORDINARY, ["needs one of"]),
        ({"affinity": BY_ARCH}, node({"arch": "amd64"}, ()), []),
        ({}, node({}, (GPU_TAINT,)), [f"does not tolerate {GPU}=present:NoSchedule"]),
        ({"tolerations": [NVIDIA]}, node({}, (GPU_TAINT,)), []),
        ({"tolerations": [{"operator": "Exists"}]}, node({}, (GPU_TAINT,)), []),
        ({"tolerations": [{"key": GPU, "value": "true"}]}, node({}, (GPU_TAINT,)), ["does not tolerate"]),
        ({"tolerations": [{**NVIDIA, "effect": "NoExecute"}]}, node({}, (GPU_TAINT,)), ["does not tolerate"]),
        ({"containers": [{"resources": {"limits": {GPU: 1}}}]}, ORDINARY, [f"asks for 1 {GPU}"]),
        ({"containers": [{"resources": {"requests": {"cpu": "5"}}}] * 2}, ORDINARY, ["asks for 10 cpu"]),
    ],
)
def test_the_model_of_the_scheduler(pod, at, why):
    found = list(misfits({"spec": {"containers": [], **pod}}, at))
    assert len(found) == len(why)
    assert all(text.startswith(start) for text, start in zip(found, why, strict=True))


def test_quantities():
    assert [quantity(text) for text in ("500m", "2", 1, "1Gi", "3k")] == [0.5, 2, 1, 2**30, 3000]
