"""The catalogue: complete, by the conventions, and documented."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import muniflow.worker.metrics
import muniflow_coordinator.metrics
import muniflow_gateway.metrics
from muniflow.compute.groups import GroupResult, TaskResult
from muniflow.compute.outcome import StepMeasure
from muniflow.runtime.metrics import LABELS, counter, gauge, histogram, metrics_of
from muniflow.worker.metrics import WorkerMetrics
from muniflow_coordinator.api.failure_counts import Counted
from muniflow_coordinator.api.owner_gauges import OwnerLive
from muniflow_coordinator.foresight.outlook import StageOutlook
from muniflow_coordinator.metrics import Live, Metrics
from muniflow_gateway.metrics import GatewayMetrics
from muniflow_gateway.problems import REASONS

ROOT = Path(__file__).parents[3]
STAGES = {"blur": StageOutlook(("blur",), wanted=0, running=0, work_s=0.0)}
OWNERS = {"utrecht": OwnerLive(batches=1, pending=2, eta_s=3.0, work_s={"blur": 4.0})}
IDLE = Live(
    {}, pending=0, in_flight=0, oldest_s=0.0, cleanup=0, waiting=False, eta_s=0.0, coverage=1.0, stages=STAGES,
    owners=OWNERS, flow=("blur",),
)  # fmt: skip
MODULES = (muniflow.worker.metrics, muniflow_coordinator.metrics, muniflow_gateway.metrics)
ENTRIES = dict.fromkeys(entry for module in MODULES for entry in metrics_of(module))


COUNTED = Counted({("blur", "crashed"): 1}, {"muniflow.batches.dead": 2})


def registry_of(make: Callable[[CollectorRegistry], object]) -> CollectorRegistry:
    registry = CollectorRegistry()
    make(registry)
    return registry


def worker() -> CollectorRegistry:
    return registry_of(WorkerMetrics)


def coordinator() -> CollectorRegistry:
    return registry_of(lambda registry: Metrics(registry).watch(lambda: IDLE, lambda: COUNTED))


def gateway() -> CollectorRegistry:
    return registry_of(GatewayMetrics)


@pytest.mark.parametrize(("registry", "module"), list(zip((worker, coordinator, gateway), MODULES, strict=True)))
def test_a_process_serves_what_its_catalogue_declares_and_nothing_else(registry: Any, module: Any) -> None:
    families = registry().collect()
    served = {(family.name, family.type, family.documentation) for family in families}
    assert served == {(entry.name, entry.kind, entry.text) for entry in metrics_of(module)}


@pytest.mark.parametrize("entry", [pytest.param(entry, id=entry.name) for entry in ENTRIES])
def test_names_and_texts_follow_the_conventions(entry):
    assert re.fullmatch(r"muniflow(_[a-z]+)+", entry.name)
    assert not re.search(r"_(total|count|sum|bucket)$", entry.name), "Prometheus adds it"
    assert not re.search(r"_(ms|millis|minutes|mb|kb|percent)$", entry.name), "base units only"
    assert entry.text.endswith((".", "`.")), "a sentence"
    if entry.kind == "histogram":
        assert entry.name.endswith(("_seconds", "_tasks", "_ratio"))
        assert list(entry.buckets) == sorted(set(entry.buckets))


def test_what_grows_with_the_work_is_no_label():
    assert not LABELS.keys() & {"batch", "image", "municipality", "lineage", "key", "source", "worker", "user"}


@pytest.mark.parametrize(
    "wrong",
    [lambda: counter("muniflow_x", "X.", "batch"), lambda: histogram("muniflow_x_seconds", "X.", buckets=())],
)
def test_a_wrong_declaration_is_refused(wrong):
    with pytest.raises(ValueError, match="muniflow_x"):
        wrong()


def test_a_gauge_can_be_measured_when_it_is_asked_for():
    family = gauge("muniflow_x", "X.", "state").family({("running",): 2.0, ("intake",): 0.0})
    assert [(sample.labels["state"], sample.value) for sample in family.samples] == [("running", 2.0), ("intake", 0.0)]


def test_a_group_is_counted():
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    metrics.describe(("resize", "blur"), children=2, device="cpu")
    metrics.observe(
        GroupResult(
            tasks=[
                TaskResult("resize", "done", 0.5, 100),
                TaskResult("resize", "failed", 0.1, kind="foreign", kept=True),
                TaskResult("resize", "failed", 0.1, kind="missing"),
                TaskResult("blur", "retry", 0.1, kind="blob store"),
            ],
            measures=[
                StepMeasure(op="resize", done=1, pixels=100, compute_s=0.2, load_s=0.1, load_bytes=50),
                StepMeasure(op="blur", done=4, pixels=25, compute_s=0.3, store_s=0.2, store_bytes=30),
            ],
        )
    )
    values = {
        ("muniflow_tasks_total", "resize", "outcome", "done"): 1,
        ("muniflow_tasks_total", "resize", "outcome", "failed"): 2,
        ("muniflow_tasks_total", "blur", "outcome", "retry"): 1,
        ("muniflow_failures_total", "resize", "reason", "foreign"): 1,
        ("muniflow_failures_total", "resize", "reason", "missing"): 1,
        ("muniflow_retries_total", "blur", "reason", "blob store"): 1,
        ("muniflow_dead_letters_total", "resize"): 1,
        ("muniflow_dead_letters_total", "blur"): 0,
        ("muniflow_task_seconds_count", "resize"): 3,
        ("muniflow_load_bytes_total", "resize"): 50,
        ("muniflow_store_bytes_total", "blur"): 30,
        ("muniflow_step_images_total", "blur"): 4,
        ("muniflow_step_pixels_total", "blur"): 25,
    }
    for (name, step, *more), expected in values.items():
        labels = {"step": step, **({more[0]: more[1]} if more else {})}
        assert registry.get_sample_value(name, labels) == expected, (name, labels)
    assert registry.get_sample_value("muniflow_children") == 2


def test_a_gateway_counts_answers_by_template_and_refusals_by_reason():
    registry = CollectorRegistry()
    metrics = GatewayMetrics(registry)
    metrics.answered("GET", "/v1/batches/{batch_id}", 200, 0.2)
    metrics.answered("BREW", "other", 404, 0.2)
    metrics.refused("quota_bytes")
    metrics.handed_in(files=3)
    known = {"method": "GET", "route": "/v1/batches/{batch_id}"}
    unknown = {"method": "other", "route": "other"}
    for name, labels, expected in (
        ("requests_total", {**known, "status": "200"}, 1),
        ("requests_total", {**unknown, "status": "404"}, 1),
        ("request_seconds_count", known, 1),
        ("refusals_total", {"reason": "quota_bytes"}, 1),
        ("refusals_total", {"reason": "broker"}, 0),
        ("batches_total", {}, 1),
        ("upload_files_total", {}, 3),
    ):
        assert registry.get_sample_value(f"muniflow_gateway_{name}", labels) == expected, (name, labels)


def test_every_reason_of_a_refusal_is_documented():
    assert set(re.findall(r"`(\w+)`", muniflow_gateway.metrics.REFUSALS.text)) == REASONS


def test_the_documentation_is_what_the_code_says():
    command = [sys.executable, str(ROOT / "tools" / "metrics-docs"), "--check"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
