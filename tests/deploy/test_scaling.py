"""Scaling: the recording rules compute what docs/guides/autoscale.md says, and the control loop settles there."""

import math
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from tests.deploy.chart import ROOT, Document, load, of_kind, rendered, tool

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


WORK, BACKLOG, SERVICE = (
    "muniflow:stage_work_seconds",
    "muniflow:stage_backlog_messages",
    "muniflow:stage_service_seconds",
)
RULE_CASES: dict[str, Any] = {
    "600 tasks of half a second are 300 seconds of work": (
        [queue("muniflow.step.blur", "600x40"), *tasks("blur", "0+30x40", "0+60x40")],
        "30m",
        {SERVICE: [("blur", 0.5)], BACKLOG: [("blur", 600)], WORK: [("blur", 300)]},
    ),
    "only the leader's number counts, whichever node says it twice": (
        [queue("muniflow.step.blur", "600x40"), queue("muniflow.step.blur", "600x40", "broker-1")],
        "30m",
        {BACKLOG: [("blur", 600)]},
    ),
    "dead letters and other queues are no backlog": (
        [queue(f"muniflow.{name}", "9x40") for name in ("step.blur.dead", "events")]
        + [queue("muniflow.step.split", "2x40")],
        "30m",
        {BACKLOG: [("split", 2)]},
    ),
    "a stage that never ran counts a second a task, so that it starts from zero": (
        [queue("muniflow.step.blur", "7x40")], "30m", {SERVICE: [], WORK: [("blur", 7)]},
    ),
    "an idle stage remembers how long its tasks took": (
        [queue("muniflow.step.blur", "10x200"), *tasks("blur", "0+30x40 1200x160", "0+60x40 2400x160")],
        "180m",
        {SERVICE: [], WORK: [("blur", 5)]},
    ),
    "a broker that is not scraped gives no signal, not zero": (
        [queue("muniflow.step.blur", "600x10 stale"), *tasks("blur", "0+30x40", "0+60x40")],
        "30m",
        {SERVICE: [("blur", 0.5)], BACKLOG: [], WORK: []},
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
    "case", ["keda-work", "keda-messages", "keda-messages-external", "operator-keda-messages", "gpu", "chained-and-new"]
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


@pytest.mark.parametrize("case", ["hpa-work", "hpa-messages"])
def test_hpa_averages_and_never_asks_for_zero(case):
    for item in of_kind(rendered(case), "HorizontalPodAutoscaler"):
        assert item["spec"]["minReplicas"] >= 1
        assert {metric["external"]["target"]["type"] for metric in item["spec"]["metrics"]} == {"AverageValue"}


def test_the_target_is_drain_time_times_children():
    targets = {
        metric["external"]["target"]["averageValue"]
        for item in of_kind(rendered("hpa-work"), "HorizontalPodAutoscaler")
        for metric in item["spec"]["metrics"]
    }
    assert targets == {str(30 * 4)}


@dataclass
class Loop:
    """The HPA's own arithmetic with the chart's behaviour, one step each 15 s."""

    scale_up: dict[str, Any]
    scale_down: dict[str, Any]
    target: float
    most: int
    replicas: int = 1

    def __post_init__(self) -> None:
        self.wishes: list[int] = []
        self.history = [self.replicas]

    def step(self, work_s: float) -> None:
        ratio = work_s / (self.target * self.replicas)
        wish = self.replicas if abs(ratio - 1) <= 0.1 else math.ceil(work_s / self.target)
        self.wishes.append(min(self.most, max(1, wish)))
        window = self.wishes[-(1 + self.scale_down["stabilizationWindowSeconds"] // 15) :]
        if self.wishes[-1] > self.replicas:
            limits = [
                self.replicas + policy["value"] if policy["type"] == "Pods"
                else math.ceil(self.replicas * (1 + policy["value"] / 100))
                for policy in self.scale_up["policies"]
            ]  # fmt: skip
            self.replicas = min(self.wishes[-1], max(limits))
        elif max(window) < self.replicas and len(self.history) % 4 == 0:
            limits = [
                self.replicas - policy["value"] if policy["type"] == "Pods"
                else math.floor(self.replicas * (1 - policy["value"] / 100))
                for policy in self.scale_down["policies"]
            ]  # fmt: skip
            self.replicas = max(*window, min(limits), 1)
        self.history.append(self.replicas)


def loop(replicas: int = 1) -> Loop:
    spec = next(iter(of_kind(rendered("hpa-work"), "HorizontalPodAutoscaler")))["spec"]
    return Loop(spec["behavior"]["scaleUp"], spec["behavior"]["scaleDown"], target=60.0, most=20, replicas=replicas)


def test_a_burst_drains_in_about_the_drain_time_once_scaled():
    control, work_s, quarter_minutes = loop(), 1200.0, 0
    while work_s > 0:
        control.step(work_s)
        work_s -= control.replicas * 15
        quarter_minutes += 1
    # Twenty replicas would need a minute; the way up (1, 5, 10, 17) costs another half. One alone needs twenty minutes.
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
    control.wishes = [20]
    for _ in range(20):
        control.step(0.0)
    assert control.history[-1] == 20, "nothing goes within the stabilization window"
    for _ in range(4):
        control.step(0.0)
    assert 15 <= control.history[-1] < 20


def test_the_docs_give_the_numbers_of_the_chart():
    text = (ROOT / "docs" / "guides" / "autoscale.md").read_text()
    scaling = load((ROOT / "deploy" / "helm" / "muniflow" / "values.yaml").read_text())[0]
    for number in (
        f"drainSeconds` ({scaling['stepDefaults']['scaling']['drainSeconds']}",
        f"messagesPerReplica` ({scaling['stepDefaults']['scaling']['messagesPerReplica']}",
        f"pollingSeconds` ({scaling['autoscaling']['keda']['pollingSeconds']}",
        f"cooldownSeconds` ({scaling['autoscaling']['keda']['cooldownSeconds']}",
        f"{scaling['autoscaling']['scaleDown']['stabilizationSeconds']} s",
        f"{scaling['autoscaling']['scaleDown']['percent']} %",
    ):
        assert number in text, number
