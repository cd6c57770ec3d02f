"""Scaling: the recording rules compute what docs/guides/autoscale.md says, and the control loop settles there."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from tests.deploy.chart import CASES, ROOT, Document, environment, load, of_kind, pods, rendered, tool
from tests.simulation.scaling.autoscaler import SYNC_S, Autoscaler, Behavior, Rules

from muniflow.forecast.stage import read_stages

RULES = ROOT / "deploy" / "prometheus" / "rules"
NAMESPACE = 'namespace="imagery"'


def queue(name: str, messages: str, pod: str = "broker-0") -> dict[str, str]:
    labels = f'{NAMESPACE},vhost="muniflow",queue="{name}",pod="{pod}"'
    return {"series": f"rabbitmq_detailed_queue_messages{{{labels}}}", "values": messages}


def tasks(step: str, seconds_per_min: str, tasks_per_min: str) -> list[dict[str, str]]:
    labels = f'{NAMESPACE},step="{step}",pod="worker-0"'
    return [
        {"series": f"muniflow_task_seconds_sum{{{labels}}}", "values": seconds_per_min},
        {"series": f"muniflow_task_seconds_count{{{labels}}}", "values": tasks_per_min},
    ]


def sample(metric: str, step: str, value: float) -> dict[str, object]:
    return {"labels": f'{metric}{{{NAMESPACE},step="{step}"}}', "value": value}


BACKLOG, SERVICE = "muniflow:stage_backlog_messages", "muniflow:stage_service_seconds"
RULE_CASES: dict[str, Any] = {
    "a backlog of 600 tasks of half a second": (
        [queue("muniflow.step.blur", "600x40"), *tasks("blur", "0+30x40", "0+60x40")],
        "30m",
        {SERVICE: [("blur", 0.5)], BACKLOG: [("blur", 600)]},
    ),
    "only the leader's number counts, whichever node says it twice": (
        [queue("muniflow.step.blur", "600x40"), queue("muniflow.step.blur", "600x40", "broker-1")],
        "30m",
        {BACKLOG: [("blur", 600)]},
    ),
    "both lanes of a stage are one backlog": (
        [queue("muniflow.step.blur", "5x40"), queue("muniflow.express.blur", "3x40")],
        "30m",
        {BACKLOG: [("blur", 8)]},
    ),
    "dead letters and other queues are no backlog": (
        [queue(f"muniflow.{name}", "9x40") for name in ("step.blur.dead", "events")]
        + [queue("muniflow.step.split", "2x40")],
        "30m",
        {BACKLOG: [("split", 2)]},
    ),
    "a broker that is not scraped gives no signal, not zero": (
        [queue("muniflow.step.blur", "600x10 stale"), *tasks("blur", "0+30x40", "0+60x40")],
        "30m",
        {SERVICE: [("blur", 0.5)], BACKLOG: []},
    ),
}  # fmt: skip


def test_the_recording_rules(tmp_path):
    cases = [
        {
            "name": name,
            "interval": "1m",
            "input_series": series,
            "promql_expr_test": [
                {"expr": metric, "eval_time": at, "exp_samples": [sample(metric, *pair) for pair in expected]}
                for metric, expected in wanted.items()
            ],
        }
        for name, (series, at, wanted) in RULE_CASES.items()
    ]
    path = tmp_path / "rules_test.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [str(RULES / "scaling.yaml")], "tests": cases}))
    done = subprocess.run([tool("promtool"), "test", "rules", path], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_every_rule_file_and_the_configuration(tmp_path):
    files = sorted(RULES.glob("*.yaml"))
    done = subprocess.run([tool("promtool"), "check", "rules", *files], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    config = (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text()
    path = tmp_path / "prometheus.yml"
    path.write_text(config.replace("/etc/prometheus/rules", str(RULES)))
    done = subprocess.run([tool("promtool"), "check", "config", path], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def while_blind(spec: Document, replicas: int) -> int:
    """Replicas that KEDA 2.19 to 2.20 and its HPA make of a stage whose signal stays away.

    As in KEDA's `scale_scaledobjects.go` and `fallback.go`: without a fallback nothing is scaled and the HPA gets an
    error; an active fallback counts as an active trigger, whatever its number, and so starts a stage that is at zero.
    """
    fallback = spec.get("fallback")
    if fallback is None:
        return replicas
    replicas = replicas or max(1, spec["minReplicaCount"])
    wish = {
        "static": fallback["replicas"],
        "currentReplicas": replicas,
        "currentReplicasIfHigher": max(replicas, fallback["replicas"]),
        "currentReplicasIfLower": min(replicas, fallback["replicas"]),
    }[fallback["behavior"]]
    return int(min(spec["maxReplicaCount"], max(1, spec["minReplicaCount"], wish)))


def scalers(documents: Sequence[Document]) -> dict[str, Document]:
    """What scales each stage, by the stage's name."""
    return {
        item["metadata"]["name"].removeprefix("muniflow-step-"): item["spec"]
        for item in of_kind(documents, "ScaledObject")
    }


@pytest.mark.parametrize(
    "case",
    ["keda-forecast", "keda-prometheus", "keda-messages", "keda-messages-external", "operator-keda-messages", "gpu"],
)
def test_a_missing_signal_holds_what_runs_and_starts_nothing(case):
    for stage, spec in scalers(rendered(case)).items():
        least = spec["minReplicaCount"]
        counts = [least, least + 1, spec["maxReplicaCount"]]
        assert [while_blind(spec, replicas) for replicas in counts] == counts, stage
        for trigger in spec["triggers"]:
            if trigger["type"] == "prometheus":
                assert trigger["metadata"]["ignoreNullValues"] == "false"
                assert "or vector" not in trigger["metadata"]["query"]


def test_a_stage_that_asks_for_it_has_a_least_number_while_its_signal_is_missing():
    found = scalers(rendered("keda-fallback"))
    assert {stage: [while_blind(spec, replicas) for replicas in (0, 1, 7)] for stage, spec in found.items()} == {
        "resize": [2, 2, 7],
        "split": [4, 4, 7],
        "blur": [0, 1, 7],
    }
    assert found["split"]["fallback"] == {"failureThreshold": 5, "replicas": 4, "behavior": "currentReplicasIfHigher"}


@pytest.mark.parametrize("case", ["keda-messages", "keda-messages-external", "operator-keda-messages"])
def test_keda_counts_unacked_messages_and_keeps_passwords_out_of_urls(case):
    for item in of_kind(rendered(case), "ScaledObject"):
        for trigger in item["spec"]["triggers"]:
            metadata = trigger["metadata"]
            assert (metadata["protocol"], metadata["excludeUnacknowledged"]) == ("http", "false")
            assert "@" not in metadata["host"]
            assert trigger["metricType"] == "AverageValue"


@pytest.mark.parametrize("case", ["hpa-forecast", "hpa-messages"])
def test_hpa_averages_and_never_asks_for_zero(case):
    for item in of_kind(rendered(case), "HorizontalPodAutoscaler"):
        assert item["spec"]["minReplicas"] >= 1
        assert {metric["external"]["target"]["type"] for metric in item["spec"]["metrics"]} == {"AverageValue"}


def test_a_wanted_replica_is_one_replica_for_every_scaler():
    """`ceil(wanted / 1)`, whoever reads the number: HPA, KEDA by itself, KEDA through Prometheus."""
    hpa = {
        (metric["external"]["metric"]["selector"]["matchLabels"]["stage"], metric["external"]["target"]["averageValue"])
        for item in of_kind(rendered("hpa-forecast"), "HorizontalPodAutoscaler")
        for metric in item["spec"]["metrics"]
    }
    assert hpa == {(stage, "1") for stage in ("resize", "split", "blur")}
    for stage, spec in scalers(rendered("keda-forecast")).items():
        (trigger,) = spec["triggers"]
        url = f"http://muniflow-coordinator.imagery.svc:9100/v1/scaling/{stage}"
        assert (trigger["type"], trigger["metricType"]) == ("metrics-api", "AverageValue")
        assert trigger["metadata"] == {
            "url": url, "valueLocation": "wanted", "targetValue": "1", "activationTargetValue": "0",
        }  # fmt: skip
    for stage, spec in scalers(rendered("keda-prometheus")).items():
        (trigger,) = spec["triggers"]
        assert (trigger["metadata"]["threshold"], trigger["metadata"]["activationThreshold"]) == ("1", "0")
        assert f'muniflow_stage_wanted_replicas{{namespace="imagery",stage="{stage}"}}' in trigger["metadata"]["query"]


def stages_of(case: str) -> dict[str, Document]:
    """What the coordinator is told of its stages."""
    coordinator = environment(pods(rendered(case))["StatefulSet/muniflow-coordinator"])
    return {stage.pop("name"): stage for stage in json.loads(coordinator["MUNIFLOW_STAGES"])}


@pytest.mark.parametrize(
    ("case", "stage", "expected"),
    [
        ("default", "blur", {"operations": ["blur"], "children": 1, "device": "cpu", "min": 0, "max": 20}),
        ("keda-forecast", "blur", {"start_s": 240, "horizon_s": 900, "pool": "large"}),
        ("hpa-forecast", "resize", {"children": 4, "min": 2, "max": 12, "horizon_s": 1800, "pool": "cpu"}),
        ("hpa-messages", "resize", {"min": 1}),
        ("gpu", "blur", {"device": "opencl", "max": 4, "pool": "gpu"}),
        ("chained-and-new", "chain", {"operations": ["resize", "split", "blur"]}),
    ],
)
def test_the_coordinator_is_told_its_stages(case, stage, expected):
    found = stages_of(case)[stage]
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize("case", CASES)
def test_the_coordinator_is_told_every_deployment(case):
    names = [item["metadata"]["name"] for item in of_kind(rendered(case), "Deployment")]
    deployments = {name.split("-step-")[1].replace("-", "_") for name in names if "-step-" in name}
    (coordinator,) = (pod for name, pod in pods(rendered(case)).items() if name.endswith("-coordinator"))
    assert {
        stage.name.replace("-", "_") for stage in read_stages(environment(coordinator)["MUNIFLOW_STAGES"])
    } == deployments


def loop(replicas: int = 1) -> "Loop":
    spec = next(iter(of_kind(rendered("hpa-forecast"), "HorizontalPodAutoscaler")))["spec"]
    up, down = Behavior.read(spec["behavior"]["scaleUp"]), Behavior.read(spec["behavior"]["scaleDown"])
    return Loop(Autoscaler(Rules(up, down, least=1, most=20, cooldown_s=0.0, target=60.0)), replicas)


@dataclass
class Loop:
    """A stage whose scaler compares the work that waits with 60 s a replica, as the signal `messages` does."""

    scaler: Autoscaler
    replicas: int
    now_s: float = 0.0

    def __post_init__(self) -> None:
        self.history = [self.replicas]

    def step(self, work_s: float) -> None:
        self.replicas = self.scaler.replicas(self.now_s, work_s, self.replicas)
        self.history.append(self.replicas)
        self.now_s += SYNC_S


def test_a_burst_drains_in_about_the_drain_time_once_scaled():
    control, work_s, quarter_minutes = loop(), 1200.0, 0
    while work_s > 0:
        control.step(work_s)
        work_s -= control.replicas * 15
        quarter_minutes += 1
    # Twenty replicas would need a minute; the way up costs another half. One alone needs twenty minutes.
    assert control.history[:4] == [1, 5, 10, 17]
    assert quarter_minutes * 15 <= 2 * 60


def test_a_steady_stream_settles_where_the_wait_is_the_drain_time():
    control, work_s = loop(), 0.0
    for _ in range(400):
        work_s = max(0.0, work_s + 6.0 * 15 - control.replicas * 15)
        control.step(work_s)
    settled = control.history[-100:]
    # Six seconds of work arrive each second: six replicas, give or take the tolerance, and no swinging.
    assert min(settled) >= 5
    assert max(settled) <= 8
    assert work_s <= 2 * 60 * 6


def test_shrinking_waits_five_minutes_and_then_goes_slowly():
    control = loop(replicas=20)
    control.step(20 * 60.0)
    for _ in range(19):
        control.step(0.0)
    assert control.history[-1] == 20, "nothing goes within the stabilization window"
    for _ in range(3):
        control.step(0.0)
    assert 15 <= control.history[-1] < 20


def test_the_docs_give_the_numbers_of_the_chart():
    text = (ROOT / "docs" / "guides" / "autoscale.md").read_text()
    scaling = load((ROOT / "deploy" / "helm" / "muniflow" / "values.yaml").read_text())[0]
    for number in (
        f"horizonSeconds` ({scaling['stepDefaults']['scaling']['horizonSeconds']}",
        f"startSeconds` ({scaling['stepDefaults']['scaling']['startSeconds']}",
        f"messagesPerReplica` ({scaling['stepDefaults']['scaling']['messagesPerReplica']}",
        f"pollingSeconds` ({scaling['autoscaling']['keda']['pollingSeconds']}",
        f"cooldownSeconds` ({scaling['autoscaling']['keda']['cooldownSeconds']}",
        f"{scaling['autoscaling']['scaleDown']['stabilizationSeconds']} s",
        f"{scaling['autoscaling']['scaleDown']['percent']} %",
    ):
        assert number in text, number
