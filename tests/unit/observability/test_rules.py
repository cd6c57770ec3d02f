"""Rules, run by Prometheus's own promtool: each series is what it says, each alert fires and stays quiet."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

ROOT = Path(__file__).parents[3]
RULES = ROOT / "deploy" / "prometheus" / "rules"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: scripts/bootstrap dev does it")
HOURS_6 = 360


def groups() -> list[dict[str, Any]]:
    """All of ours, as Prometheus reads them."""
    return [group for path in sorted(RULES.glob("*.yaml")) for group in yaml.safe_load(path.read_text())["groups"]]


def rules() -> list[dict[str, Any]]:
    return [rule for group in groups() for rule in group["rules"]]


def needed_for(alert: str) -> list[dict[str, Any]]:
    """The groups with nothing but the alert and the series that it reads: all would take seconds for six hours."""
    by_name = {rule.get("alert") or rule["record"]: rule for rule in rules()}
    needed, found = {alert}, {alert}
    while found:
        found = {name for each in found for name in re.findall(r"\bmuniflow:\w+", by_name[each]["expr"])} - needed
        needed |= found
    return [
        {**group, "rules": [rule for rule in group["rules"] if (rule.get("alert") or rule["record"]) in needed]}
        for group in groups()
    ]


def promtool(tmp_path, *tests, given=None):
    """Run cases; an error is what promtool says of them."""
    path, rules_path = tmp_path / "rules_test.yaml", tmp_path / "rules.yaml"
    rules_path.write_text(yaml.safe_dump({"groups": given or groups()}))
    document = {
        "rule_files": [str(rules_path)],
        # Recorded series before the alerts that read them.
        "group_eval_order": ["muniflow-scaling", "muniflow-pipeline", "muniflow-alerts"],
        "tests": list(tests),
    }
    path.write_text(yaml.safe_dump(document))
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, "test", "rules", path], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def series(name: str, values: str, **labels: str) -> dict[str, str]:
    """One value a minute in promtool's notation; everything is in one namespace."""
    written = ",".join(f'{key}="{value}"' for key, value in {"namespace": "imagery", **labels}.items())
    return {"series": f"{name}{{{written}}}", "values": values}


def queue(values: str, name: str = "muniflow.step.blur", what: str = "messages", **labels: str) -> dict[str, str]:
    return series(f"rabbitmq_detailed_queue_{what}", values, vhost="/", queue=name, **labels)


def worker(name: str, values: str, pod: str = "a", **labels: str) -> dict[str, str]:
    return series(name, values, job="muniflow", instance=pod, **labels)


def failures(values: str, code: str, pod: str = "a") -> dict[str, str]:
    return worker("muniflow_failures", values, pod, step="blur", reason_code=code)


def tasks(values: str, outcome: str = "done") -> dict[str, str]:
    return worker("muniflow_tasks_total", values, step="blur", outcome=outcome)


def request(values: str, status: str = "200", route: str = "/v1/batches") -> dict[str, str]:
    return worker("muniflow_gateway_requests_total", values, method="POST", route=route, status=status)


BLUR = '{namespace="imagery", step="blur"}'
ALL = '{namespace="imagery"}'
EXPRESS = "muniflow.express.blur"
SERIES: dict[str, tuple[list[dict[str, str]], dict[str, list[tuple[str, float]]]]] = {
    "replicas are workers that serve a stage": (
        [worker("muniflow_prefetch", "8x30", pod, step="blur") for pod in ("a", "b")],
        {"muniflow:stage_replicas": [(BLUR, 2)]},
    ),
    "consumers are counted once, whichever node says it": (
        [queue("3x30", what="consumers", pod=pod) for pod in ("broker-0", "broker-1")],
        {"muniflow:stage_consumers": [(BLUR, 3)]},
    ),
    "the express lane of a stage is told beside the whole": (
        [queue("5x30"), queue("3x30", EXPRESS), queue("2x30", what="consumers"), queue("2x30", EXPRESS, "consumers")],
        {"muniflow:stage_express_backlog_messages": [(BLUR, 3)], "muniflow:stage_consumers": [(BLUR, 2)]},
    ),
    "a retry is not the end of a task": (
        [tasks("0+60x30"), tasks("0+60x30", "failed"), tasks("0+600x30", "retry")],
        {"muniflow:stage_tasks_per_second": [(BLUR, 2)], "muniflow:stage_failure_ratio": [(BLUR, 0.5)]},
    ),
    "a stage without tasks has no failure ratio": (
        [tasks("7x30"), tasks("3x30", "failed")],
        {"muniflow:stage_failure_ratio": []},
    ),
    "images and megapixels per second": (
        [worker("muniflow_step_images_total", "0+60x30", step="blur"),
         worker("muniflow_step_pixels_total", "0+60000000x30", step="blur")],
        {"muniflow:stage_images_per_second": [(BLUR, 1)], "muniflow:stage_megapixels_per_second": [(BLUR, 1)]},
    ),
    "600 tasks at two a second take five minutes": (
        [queue("600x30"), tasks("0+120x30")],
        {"muniflow:stage_drain_seconds": [(BLUR, 300)]},
    ),
    "an empty queue needs no time": (
        [queue("0x30"), tasks("5x30")],
        {"muniflow:stage_drain_seconds": [(BLUR, 0)]},
    ),
    "a worker of two children that works 30 of 60 seconds is used by a quarter": (
        [worker("muniflow_task_seconds_sum", "0+30x30", step="blur"), worker("muniflow_children", "2x30"),
         worker("muniflow_prefetch", "8x30", step="blur")],
        {"muniflow:worker_utilisation_ratio": [('{namespace="imagery", job="muniflow", instance="a"}', 0.25)],
         "muniflow:stage_utilisation_ratio": [(BLUR, 0.25)], "muniflow:idle_children": [(ALL, 1.5)]},
    ),
    "dead letters of every queue": (
        [queue("2x30", "muniflow.step.blur.dead"), queue("0x30", "muniflow.events.dead"), queue("9x30")],
        {"muniflow:dead_letters": [('{namespace="imagery", queue="muniflow.step.blur.dead"}', 2),
                                   ('{namespace="imagery", queue="muniflow.events.dead"}', 0)]},
    ),
    "failures that the ledger knows, of two coordinators": (
        [failures("5x30", "image_damaged"), failures("4x30", "image_damaged", "b"),
         failures("2x30", "timed_out"), queue("0x30", "muniflow.step.blur.dead"),
         worker("muniflow_letters", "3x30", queue="muniflow.batches.dead")],
        {"muniflow:dead_letters": [('{namespace="imagery", queue="muniflow.step.blur"}', 7),
                                   ('{namespace="imagery", queue="muniflow.batches.dead"}', 3),
                                   ('{namespace="imagery", queue="muniflow.step.blur.dead"}', 0)]},
    ),
    "a gateway's errors are what it could not serve; a health check is no request": (
        [request("0+60x30"), request("0+20x30", "503"), request("0+60x30", "429"),
         request("0+900x30", "503", "/readyz")],
        {"muniflow:gateway_requests_per_second": [(ALL, 2.333)], "muniflow:gateway_error_ratio": [(ALL, 0.143)]},
    ),
    "a gateway that never failed has an error ratio of zero": (
        [request("0+60x30")], {"muniflow:gateway_error_ratio": [(ALL, 0)]}
    ),
    "a gateway that nobody asks has none": (
        [request("5x30"), request("5x30", "500")], {"muniflow:gateway_error_ratio": []}
    ),
    "uploaded bytes of all gateways": (
        [worker("muniflow_gateway_upload_bytes_total", "0+6000x30", pod) for pod in ("a", "b")],
        {"muniflow:gateway_upload_bytes_per_second": [(ALL, 200)]},
    ),
    "images of all batches, and when the last one ends by the forecast": (
        [series("muniflow_slowest_batch_eta_seconds", "600x30"),
         series("muniflow_images_settled_total", "0+60x30", state="done"),
         series("muniflow_images_settled_total", "0+60x30", state="failed")],
        {"muniflow:images_per_second": [(ALL, 2)], "muniflow:eta_seconds": [(ALL, 600)]},
    ),
    "while a batch waits, nobody knows when it ends": (
        [series("muniflow_images_pending", "9x30"), series("muniflow_images_settled_total", "9x30", state="done")],
        {"muniflow:eta_seconds": []},
    ),
}  # fmt: skip


@needs_promtool
def test_recorded_series(tmp_path):
    promtool(
        tmp_path,
        *(
            {
                "name": name,
                "interval": "1m",
                "input_series": given,
                "promql_expr_test": [
                    {
                        "expr": f"round({metric}, 0.001)",
                        "eval_time": "20m",
                        "exp_samples": [{"labels": labels, "value": value} for labels, value in wanted],
                    }
                    for metric, wanted in expected.items()
                ],
            }
            for name, (given, expected) in SERIES.items()
        ),
    )


class Case(NamedTuple):
    """Six hours, minute by minute."""

    fires: list[dict[str, str]]
    quiet: list[dict[str, str]]


def latency(metric: str, bound: str) -> list[dict[str, str]]:
    """A histogram all of whose values are at most `bound`, and more than the bound below."""
    bounds = ["0.1", "0.25", "5.0", "30.0", "120.0", "+Inf"]
    return [
        series(f"{metric}_bucket", f"0+{60 if index >= bounds.index(bound) else 0}x{HOURS_6}", le=le)
        for index, le in enumerate(bounds)
    ]


NIGHT = request("", "500")["series"].replace("imagery", "quiet")
CONSUMED = queue("3x360", what="consumers")
SCALER = {"horizontalpodautoscaler": "keda-hpa-muniflow-step-blur"}
CURRENT, MAXIMUM = (
    f"kube_horizontalpodautoscaler_{name}_replicas" for name in ("status_current", "spec_max")
)  # fmt: skip
ALERTS = {
    "MuniflowStageWithoutConsumers": Case(
        fires=[queue("5x360"), queue("0x360", what="consumers")],
        # A stage at zero replicas wakes up within minutes; one without tasks needs no consumer.
        quiet=[queue("5x360"), queue("0x4 1x356", what="consumers"), queue("0x360", "muniflow.step.split"),
               queue("0x360", "muniflow.step.split", "consumers")],
    ),
    "MuniflowSignalMissing": Case(
        # The broker's scrape ends, or gives its queues another namespace.
        fires=[
            series("muniflow_leader", "1x360"), series("muniflow_stage_wanted_replicas", "1x360", stage="blur"),
            queue("5x60 stale"), queue("5x360", namespace="rabbit"),
        ],
        # A broker without a coordinator is somebody else's, or the coordinator's own alert.
        quiet=[
            series("muniflow_leader", "1x360"), series("muniflow_stage_wanted_replicas", "0x360", stage="blur"),
            queue("0x360"), queue("5x360", namespace="rabbit"),
        ],
    ),
    "MuniflowBacklogGrowing": Case(
        fires=[series("muniflow_stage_remaining_work_seconds", "1000+60x360", stage="blur")],
        quiet=[series("muniflow_stage_remaining_work_seconds", "20000-50x360", stage="blur")],
    ),
    "MuniflowDrainTimeBeyondTarget": Case(
        fires=[queue("9000x360"), tasks("0+300x360"), CONSUMED], quiet=[queue("900x360"), tasks("0+300x360"), CONSUMED]
    ),
    "MuniflowPendingGrowing": Case(
        fires=[series("muniflow_images_pending", "1000000+60x360"),
               series("muniflow_slowest_batch_eta_seconds", "90000x360")],
        quiet=[series("muniflow_images_pending", "1000+60x360"),
               series("muniflow_slowest_batch_eta_seconds", "600x360")],
    ),
    "MuniflowForecastsWrong": Case(
        fires=[series("muniflow_forecast_coverage_ratio", "0.78x360"),
               series("muniflow_forecasts_graded", "50x360")],
        quiet=[series("muniflow_forecast_coverage_ratio", "0.5x360"),
               series("muniflow_forecasts_graded", "19x360")],
    ),
    "MuniflowDeadLetters": Case(
        fires=[queue("0x100 1x260", "muniflow.step.blur.dead")], quiet=[queue("0x360", "muniflow.step.blur.dead")]
    ),
    "MuniflowFailureRatio": Case(
        fires=[tasks("0+100x360"), tasks("0+10x360", "failed")],
        # One bad image an hour is no pattern, nor is one in a hundred.
        quiet=[tasks("0+1000x360"), tasks("0+10x360", "failed"),
               worker("muniflow_tasks_total", "0x300 1x60", step="split", outcome="failed")],
    ),
    "MuniflowChildCrashes": Case(
        fires=[worker("muniflow_child_deaths_total", "0+1x360")],
        quiet=[worker("muniflow_child_deaths_total", "0x100 1x100 2x160")],
    ),
    "MuniflowWorkerDisconnected": Case(
        fires=[worker("muniflow_connected", "1x300 0x60"), worker("muniflow_worker_info", "1x360")],
        # A broker that restarts is away for a minute; a standby coordinator has no connection on purpose.
        quiet=[worker("muniflow_connected", "1x300 0x2 1x58"), worker("muniflow_worker_info", "1x360"),
               worker("muniflow_connected", "0x360", "coordinator-1")],
    ),
    "MuniflowGatewayDisconnected": Case(
        fires=[worker("muniflow_connected", "1x300 0x60"), worker("muniflow_gateway_uploads", "0x360")],
        quiet=[worker("muniflow_connected", "1x300 0x2 1x58"), worker("muniflow_gateway_uploads", "0x360"),
               worker("muniflow_connected", "0x360", "coordinator-1")],
    ),
    "MuniflowGatewayErrors": Case(
        fires=[request("0+60x360"), request("0+6x360", "503")],
        # Refusals that are the client's part, errors of one in a hundred, a health check of one who is not ready, and
        # two errors in a night.
        quiet=[request("0+60x360"), request("0+60x360", "429"), request("0+1x360", "500"),
               request("0+60x360", "503", "/readyz"), dict(request("0x350 1x5 2x5", "500"), series=NIGHT),
               dict(request("0x350 1x10"), series=NIGHT.replace("500", "200"))],
    ),
    "MuniflowCoordinatorNotLeading": Case(
        fires=[series("muniflow_leader", "1x300 0x60", pod="a"), series("muniflow_leader", "0x360", pod="b")],
        quiet=[series("muniflow_leader", "1x300 0x60", pod="a"), series("muniflow_leader", "0x301 1x59", pod="b")],
    ),
    "MuniflowTwoLeaders": Case(
        fires=[series("muniflow_leader", "1x360", pod=pod) for pod in "ab"],
        quiet=[series("muniflow_leader", "1x300 0x60", pod="a"), series("muniflow_leader", "0x300 1x60", pod="b")],
    ),
    "MuniflowCoordinatorLagging": Case(
        fires=latency("muniflow_events_lag_seconds", "120.0"),
        quiet=[*latency("muniflow_events_lag_seconds", "5.0"), queue("300x360", "muniflow.events")],
    ),
    "MuniflowImageStuck": Case(
        fires=[series("muniflow_oldest_image_age_seconds", "0+60x360")],
        quiet=[series("muniflow_oldest_image_age_seconds", "900x360")],
    ),
    "MuniflowBrokerAlarm": Case(
        fires=[series("rabbitmq_alarms_free_disk_space_watermark", "0x300 1x60")],
        quiet=[series(name, "0x360") for name in (
            "rabbitmq_alarms_free_disk_space_watermark", "rabbitmq_alarms_memory_used_watermark", "muniflow_blocked")],
    ),
    "MuniflowScalerAtMaximum": Case(
        fires=[series(CURRENT, "20x360", **SCALER), series(MAXIMUM, "20x360", **SCALER)],
        quiet=[series(CURRENT, "20x20 19x340", **SCALER), series(MAXIMUM, "20x360", **SCALER)],
    ),
    "MuniflowStoreErrors": Case(
        fires=[worker("muniflow_retries_total", "0+6x360", step="blur", reason="blob store")],
        quiet=[worker("muniflow_retries_total", "0x200 3x160", step="blur", reason="blob store")],
    ),
    "MuniflowDatabaseErrors": Case(
        fires=[series("muniflow_ledger_waiting", "0x300 1x60")],
        quiet=[series("muniflow_ledger_waiting", "0x300 1x1 0x59")],
    ),
    "MuniflowLedgerSlow": Case(
        fires=latency("muniflow_ledger_commit_seconds", "5.0"), quiet=latency("muniflow_ledger_commit_seconds", "0.25")
    ),
}  # fmt: skip


def firing(alert, input_series, samples):
    return {
        "interval": "1m",
        "input_series": input_series,
        "promql_expr_test": [
            {
                "expr": f'group(ALERTS{{alertname="{alert}", alertstate="firing"}})',
                "eval_time": f"{HOURS_6}m",
                "exp_samples": samples,
            }
        ],
    }


@needs_promtool
@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_fires_and_stays_quiet(tmp_path, alert):
    case = ALERTS[alert]
    cases = firing(alert, case.fires, [{"labels": "{}", "value": 1}]), firing(alert, case.quiet, [])
    promtool(tmp_path, *cases, given=needed_for(alert))


@needs_promtool
def test_no_coordinator_at_all_is_as_bad_as_none_that_leads(tmp_path):
    alert = "MuniflowCoordinatorNotLeading"
    promtool(tmp_path, firing(alert, [], [{"labels": "{}", "value": 1}]), given=needed_for(alert))


def test_every_alert_has_both_cases():
    assert {rule["alert"] for rule in rules() if "alert" in rule} == ALERTS.keys()


def test_every_recorded_series_has_a_case():
    tested = {metric for _, expected in SERIES.values() for metric in expected}
    here = yaml.safe_load((RULES / "pipeline.yaml").read_text())["groups"][0]["rules"]
    assert {rule["record"] for rule in here} == tested


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_alert_says_what_is_wrong_and_leads_to_its_runbook():
    there = anchors((ROOT / "docs" / "guides" / "operate.md").read_text())
    for rule in rules():
        if "alert" in rule:
            document, _, anchor = rule["annotations"]["runbook_url"].partition("#")
            assert document == "docs/guides/operate.md", rule["alert"]
            assert anchor in there, rule["alert"]
            assert rule["annotations"]["summary"], rule["alert"]
            assert rule["labels"]["severity"] in {"critical", "warning"}, rule["alert"]


def test_rules_use_metrics_that_exist():
    import muniflow.worker.metrics
    import muniflow_coordinator.metrics
    import muniflow_gateway.metrics
    from muniflow.runtime.metrics import metrics_of

    modules = (muniflow.worker.metrics, muniflow_coordinator.metrics, muniflow_gateway.metrics)
    declared = [entry for module in modules for entry in metrics_of(module)]
    names = {f"{entry.name}{end}" for entry in declared for end in ("", "_total", "_sum", "_count", "_bucket")}
    used = {name for rule in rules() for name in re.findall(r"\bmuniflow_\w+", rule["expr"])}
    assert used <= names, used - names


def test_an_alert_waits_longer_than_four_looks():
    """So that it can tell a glitch from trouble; one that looks at a rate over minutes has waited already."""
    minutes = {rule["alert"]: int(rule["for"][:-1]) for rule in rules() if "for" in rule}
    assert min(minutes.values()) >= 1
    at_once = [rule["alert"] for rule in rules() if "alert" in rule and "for" not in rule]
    assert at_once == ["MuniflowChildCrashes"]
