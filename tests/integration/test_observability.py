"""What an operator sees, on a live stack under load: every metric, every panel of every dashboard has data.

It runs on the installed RabbitMQ, or on the one that MUNIFLOW_RABBITMQ_SERVER names (`scripts/test-brokers`).
"""

import json
import math
import os
import shutil
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from deploy.grafana.generator.pages import PAGES
from deploy.grafana.generator.pipeline import PLACES
from deploy.prometheus.monitor import INSTALL, Prometheus, configuration, quick_rules, targets_of, write_targets
from prometheus_client import CollectorRegistry, Gauge, start_http_server
from prometheus_client.parser import text_string_to_metric_families
from tests.integration.load_clients import LoadClients
from tests.integration.stacks import CommandLine, kill_stack
from tests.support.waiting import eventually

import muniflow.worker.metrics
import muniflow_coordinator.metrics
import muniflow_gateway.metrics
from muniflow.images.opencv import cv2
from muniflow.model.topology import EVENTS, exchange_to, step_queue
from muniflow.runtime.metrics import Metric, metrics_of
from muniflow.runtime.settings import BrokerSettings
from muniflow.transport.admin import open_channel
from muniflow_cli.stack.broker import SERVER_VARIABLE, find_server
from muniflow_cli.stack.ports import free_ports
from muniflow_cli.stack.state import StackState, read_state

pytestmark = pytest.mark.timeout(300)
STEPS = ("blur", "resize", "split")
IMAGES, BAD = 360, 40
EVERY_S = 1
LIMIT_S = 90.0
VARIABLES = {
    "$namespace": ".*",
    "$owner": ".*",
    "$step": ".*",
    "$__rate_interval": "1m",
    "$__range": "5m",
    "$price": "0.04",
}
BACKLOG = "muniflow:stage_backlog_messages"
FAILPOINTS = "child.after_load=fail@20,child.after_compute=stall:0.03@*"
"""Each child has one task to retry; and they are slow without keeping a core busy, so that the load lasts."""
SHOWN = (
    "sum(muniflow_images_settled_total) > 20",
    f"count(sum by (step) (muniflow_retries_total)) == {len(STEPS)}",
    "sum(muniflow:dead_letters) > 0",
    'sum(muniflow_gateway_refusals_total{reason="quota_pixels"}) > 5',
    'sum(muniflow_gateway_requests_total{method="POST",route="/process",status="200"}) > 5',
    'sum(muniflow_gateway_requests_total{route="other",status="404"}) > 5',
    "sum(muniflow:images_per_second) > 0 and max(muniflow:eta_seconds) > 0",
    f"count(muniflow:stage_utilisation_ratio > 0) == {len(STEPS)}",
)
"""What Prometheus must have seen before the tests look."""
QUOTA = {"MUNIFLOW_MEGAPIXELS_PER_HOUR": "25"}
"""At the gateway: room for all small pictures of its clients, and never for their large one."""


@dataclass
class Live:
    """A stack under load, and Prometheus, which looks on."""

    state: StackState
    prometheus: Prometheus

    def scrape(self, role: str) -> list[str]:
        """The metrics of all processes of a role."""
        return [read(f"{process.url}/metrics") for process in self.state.processes if process.role == role]


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own
        text: str = answer.read().decode()
        return text


def pictures(folder: Path) -> None:
    """Photographs enough for a minute, and among them files that are none."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(7).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    _, data = cv2.imencode(".jpg", cv2.resize(noise, (320, 200)))
    for number in range(IMAGES):
        (folder / f"{number:04}.jpg").write_bytes(data.tobytes())
    for number in range(BAD):
        (folder / f"{number * 9:04}-bad.jpg").write_bytes(b"not an image")


def kube_state_metrics() -> tuple[Any, Thread, int]:
    """The two series of kube-state-metrics that a panel shows, from a server of our own."""
    registry = CollectorRegistry()
    for name, value in (("status_current", 3), ("spec_max", 20)):
        metric = Gauge(
            f"kube_horizontalpodautoscaler_{name}_replicas", "x", ["horizontalpodautoscaler"], registry=registry
        )
        metric.labels("keda-hpa-muniflow-step-blur").set(value)
    (port,) = free_ports(1)
    server, thread = start_http_server(port, "127.0.0.1", registry)
    return server, thread, port


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    if shutil.which("prometheus") is None:
        pytest.skip(INSTALL)
    if find_server() is None:
        pytest.skip("RabbitMQ is not installed")
    folder = tmp_path_factory.mktemp("observed")
    pictures(folder / "pictures")
    variables = {
        "MUNIFLOW_FAILPOINTS": FAILPOINTS,
        "MUNIFLOW_WINDOW_IMAGES": "60",
        "MUNIFLOW_GATEWAY_OPEN": "true",
        **QUOTA,
    }
    if server_script := os.environ.get(SERVER_VARIABLE):
        variables[SERVER_VARIABLE] = server_script
    line = CommandLine(folder, variables)
    up = line("up", "--detach", timeout_s=180)
    assert up.returncode == 0, up.stderr
    state = read_state(line.state_dir)
    assert state is not None
    server, thread, kubernetes_port = kube_state_metrics()
    try:
        write_targets(folder / "targets.json", targets_of(state))
        config = configuration(quick_rules(folder / "rules", EVERY_S), folder / "targets.json", state, EVERY_S)
        kubernetes = [{"targets": [f"127.0.0.1:{kubernetes_port}"]}]
        config["scrape_configs"].append({"job_name": "kube-state-metrics", "static_configs": kubernetes})
        (port,) = free_ports(1)
        with Prometheus(folder / "prometheus", port, config) as prometheus:
            live = Live(state, prometheus)
            assert state.gateway_url is not None
            picture = (folder / "pictures" / "0000.jpg").read_bytes()
            clients = LoadClients(state.gateway_url, picture, "large")
            try:
                put_under_load(line, live, clients)
                yield live
            finally:
                clients.stop()
    finally:
        kill_stack(line.state_dir)
        server.shutdown()
        server.server_close()
        thread.join()


def put_under_load(line: CommandLine, live: Live, clients: LoadClients) -> None:
    """A batch that ends, one that goes on, clients, some messages that nobody can read; until all of it is seen."""
    targets = len(targets_of(live.state)) + len(("rabbitmq", "rabbitmq-queues", "kube-state-metrics"))
    eventually(lambda: len(live.prometheus.query("up == 1")) == targets, LIMIT_S, "everything is scraped")
    with open_channel(BrokerSettings(amqp_url=live.state.amqp_url)) as channel:
        for queue in (step_queue("resize"), EVENTS):
            channel.basic_publish(exchange_to(queue), queue, b"nobody can read this")
    route = [["resize", "50%"], ["split", True], ["blur", "gaussian"]]
    small = line.write_batch(
        "small", images=[f"{number:04}.jpg" for number in range(1, 4)], source="pictures/", operations=route
    )
    assert line("submit", small, "--wait").returncode == 0
    assert line("submit", line.write_batch("large", source="pictures/", operations=route)).returncode == 0
    clients.start()
    for shown in SHOWN:
        eventually(lambda shown=shown: live.prometheus.query(shown), LIMIT_S, shown, every_s=0.2)  # type: ignore[misc]


def filled(expr: str, **more: str) -> str:
    """An expression as Grafana sends it."""
    for name, value in {**VARIABLES, **more}.items():
        expr = expr.replace(name, value)
    return expr


def without_data(live: Live) -> list[str]:
    """The queries of all panels that find nothing."""
    empty = []
    asked = 0
    for page in PAGES:
        for row in page.rows:
            for panel in row.panels:
                for query in panel.queries:
                    for step in STEPS if row.repeat else ("",):
                        expr = filled(query.expr, **({"$step": step} if step else {}))
                        values = [float(series["value"][1]) for series in live.prometheus.query(expr)]
                        asked += 1
                        if not any(not math.isnan(value) for value in values):
                            empty.append(f"{page.name} / {panel.title} {step} {query.legend}: {expr} → {values}")
    assert asked > 80
    # Failures happen where the bad files are read, and nowhere else.
    expected = ("pipeline / Failures and retries blur failed", "pipeline / Failures and retries split failed")
    # There are three stages, and a batch runs in each.
    no_stages = [" unless on (namespace, step) ", *(f'place="{place}"' for place in PLACES[len(STEPS) :])]
    return [line for line in empty if not line.startswith(expected) and not any(part in line for part in no_stages)]


def test_every_panel_of_every_dashboard_has_data(live):
    """A rate needs two looks at what it is the rate of."""
    eventually(lambda: not without_data(live), LIMIT_S, lambda: "\n".join(without_data(live)))


def test_the_numbers_are_those_of_the_load(live):
    def value(expr: str) -> float:
        (found,) = live.prometheus.query(expr)
        return float(found["value"][1])

    assert value("sum(muniflow_images_pending)") > 0
    assert value("max(muniflow:eta_seconds)") > 0
    assert value("sum(muniflow:images_per_second)") > 0
    assert value("sum(muniflow_leader)") == 1
    for step in STEPS:
        assert value(f'muniflow:stage_replicas{{step="{step}"}}') == 1
        assert value(f'muniflow:stage_consumers{{step="{step}"}}') == 1
        assert 0 < value(f'muniflow:stage_utilisation_ratio{{step="{step}"}}') <= 1.1
        # 0.03 s each, but much less for a file that is no image.
        assert 0.01 < value(f'muniflow:stage_service_seconds{{step="{step}"}}') < 1

    def worst() -> str:
        (found,) = live.prometheus.query("topk(1, muniflow:stage_drain_seconds)")
        return str(found["metric"]["step"])

    # Four tiles of each image at the same pace: blur holds it back, once there are tiles.
    eventually(lambda: worst() == "blur", LIMIT_S, worst)


@pytest.mark.parametrize(
    ("role", "module"),
    [
        ("worker", muniflow.worker.metrics),
        ("coordinator", muniflow_coordinator.metrics),
        ("gateway", muniflow_gateway.metrics),
    ],
)
def test_every_metric_of_the_catalogue_is_served(live, role, module):
    found: dict[str, float] = {}

    def missing() -> list[str]:
        found.clear()
        for text in live.scrape(role):
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    found[sample.name] = found.get(sample.name, 0.0) + sample.value
        # What has labels is there from its first count on.
        awaited = [entry for entry in metrics_of(module) if moves(entry) or not entry.labels]
        return [entry.series for entry in awaited if entry.series not in found]

    # Failures are counted every 10 s, and an end is known only while nothing holds a batch up.
    eventually(lambda: not missing(), LIMIT_S, lambda: ", ".join(missing()))
    moved = {entry.series for entry in metrics_of(module) if moves(entry)}
    still = sorted(name for name in moved if found[name] <= 0)
    assert not still, "these should have counted something"


def moves(entry: Metric) -> bool:
    """Whether a healthy stack under this load shows more than zero."""
    return entry.name not in {
        "muniflow_blocked", "muniflow_dead_letters", "muniflow_publish_problems", "muniflow_connections_lost",
        "muniflow_child_deaths", "muniflow_images_redispatched", "muniflow_batches_held", "muniflow_cleanup_waiting",
        "muniflow_ledger_waiting",
        "muniflow_events_of_unknown_batches", "muniflow_commands_for_unknown_batches", "muniflow_events_refused",
        "muniflow_webhooks_sent", "muniflow_webhooks_failed", "muniflow_webhooks_dead",
    }  # fmt: skip


def test_seconds_are_seconds_and_waits_are_waits(live):
    for name, most in (("step", 1.0), ("load", 1.0), ("store", 1.0), ("task", 1.5), ("wait", 200.0), ("confirm", 5.0)):
        (mean,) = live.prometheus.query(f"sum(muniflow_{name}_seconds_sum) / sum(muniflow_{name}_seconds_count)")
        assert 0 < float(mean["value"][1]) < most, name
    (pixels,) = live.prometheus.query(
        'sum(muniflow_step_pixels_total{step="resize"}) / sum(muniflow_step_images_total{step="resize"})'
    )
    assert float(pixels["value"][1]) == pytest.approx(320 * 200)


def test_the_gateway_counts_what_its_visitors_do(live):
    def value(expr: str) -> float:
        (found,) = live.prometheus.query(expr)
        return float(found["value"][1])

    assert value('sum(muniflow_gateway_requests_total{method="POST",route="/process",status="200"})') > 5
    assert value('sum(muniflow_gateway_requests_total{route="/process",status="429"})') == pytest.approx(
        value('sum(muniflow_gateway_refusals_total{reason="quota_pixels"})'), abs=2
    ), "refused, and counted so; scraped at one moment or the next"
    assert value('sum(muniflow_gateway_requests_total{route="other",status="404"})') > 5
    # One picture in each batch; those beyond the quota are uploaded, too, but not taken in.
    assert value("sum(muniflow_gateway_upload_files_total) - sum(muniflow_gateway_batches_total)") == 0
    assert value("sum(muniflow_gateway_upload_bytes_total) / sum(muniflow_gateway_upload_files_total)") > 1000
    assert value("sum(muniflow_gateway_uploads)") >= 1, "the slow one"
    assert value("sum(muniflow_gateway_event_streams)") == 1
    assert value("max(muniflow:gateway_error_ratio)") == 0
    routes = {series["metric"]["route"] for series in live.prometheus.query("muniflow_gateway_requests_total")}
    assert routes <= {"/process", "/v1/batches", "/v1/batches/{batch_id}/events", "other"}


def test_the_page_and_the_command_line_and_the_metrics_tell_the_same(live):
    """The page asks the gateway, `muniflow watch` the coordinator. Numbers move, so each is looked at again."""
    page, line = f"{live.state.gateway_url}/v1", f"{live.state.coordinator_url}/v1"

    def same_batch() -> bool:
        told, seen = (json.loads(read(f"{base}/batches/large")) for base in (line, page))
        for name in ("rate_images_per_s", "eta_s"):  # as of the moment in which it is asked
            first, second = told.pop(name) or 0.0, seen.pop(name) or 0.0
            assert first == pytest.approx(second, rel=0.3, abs=2)
        return bool({name: seen[name] for name in told} == told)

    def same_images() -> bool:
        batches = json.loads(read(f"{page}/batches?limit=500"))["batches"]
        left = sum(each["total"] - each["done"] - each["failed"] - each["cancelled"] for each in batches)
        (text,) = live.scrape("coordinator")
        return f"muniflow_images_pending {float(left)}" in text.splitlines()

    def same_backlog() -> bool:
        stages = {stage["op"]: stage for stage in json.loads(read(f"{page}/stages"))["stages"]}
        backlog = {series["metric"]["step"]: float(series["value"][1]) for series in live.prometheus.query(BACKLOG)}
        told = {op: stage["ready"] + stage["unacked"] for op, stage in stages.items()}
        return told.keys() == backlog.keys() and all(abs(told[op] - backlog[op]) <= 5 + told[op] / 5 for op in told)

    for same in (same_batch, same_images, same_backlog):
        eventually(same, what=same.__name__)


def test_labels_hold_no_batch_and_no_image(live):
    allowed = {*STEPS, "muniflow"}
    for role in ("worker", "coordinator", "gateway"):
        for text in live.scrape(role):
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    values = [value for name, value in sample.labels.items() if name != "le"]
                    assert not [value for value in values if "large" in value or "000" in value], sample
                    if "step" in sample.labels:
                        assert sample.labels["step"] in allowed
