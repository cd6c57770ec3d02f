"""Prometheus beside a local stack: what it is told to ask, and what a person is told."""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml
from deploy.grafana.local import Grafana, find_grafana
from deploy.prometheus.monitor import RULES, configuration, quick_rules, targets_of, write_targets

from muniflow.runtime.settings import StoreSettings
from muniflow_cli.stack.ports import free_ports
from muniflow_cli.stack.processes import identify
from muniflow_cli.stack.state import ProcessState, StackState

ROOT = Path(__file__).parents[3]


@pytest.fixture
def state():
    """A stack of two processes and a broker."""
    me = identify(os.getpid())
    assert me is not None
    processes = [
        ProcessState(name="coordinator", role="coordinator", identity=me, url="http://127.0.0.1:9001"),
        ProcessState(name="blur-1", role="worker", identity=me, url="http://127.0.0.1:9002"),
        ProcessState(name="broker", role="broker", identity=me),
    ]
    return StackState(
        supervisor=me, amqp_url="amqp://x", coordinator_url="http://127.0.0.1:9001",
        rabbitmq_metrics_url="http://127.0.0.1:15692", database_url="sqlite://", stores=StoreSettings(),
        processes=tuple(processes),
    )  # fmt: skip


def test_every_process_and_both_pages_of_the_broker_are_asked(state, tmp_path):
    write_targets(tmp_path / "targets.json", targets_of(state))
    assert json.loads((tmp_path / "targets.json").read_text()) == [{"targets": ["127.0.0.1:9001", "127.0.0.1:9002"]}]
    config = configuration([], tmp_path / "targets.json", state, 2)
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    assert set(jobs) == {"muniflow", "rabbitmq", "rabbitmq-queues"}
    assert jobs["rabbitmq-queues"]["metrics_path"] == "/metrics/detailed"
    without = configuration([], tmp_path / "targets.json", state.model_copy(update={"rabbitmq_metrics_url": None}), 2)
    assert [job["job_name"] for job in without["scrape_configs"]] == ["muniflow"]


def test_the_queues_are_asked_for_as_compose_does(state, tmp_path):
    compose = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    ours = configuration([], tmp_path / "targets.json", state, 2)
    asked = [
        next(job for job in config["scrape_configs"] if job["job_name"] == "rabbitmq-queues")["params"]
        for config in (compose, ours)
    ]
    assert asked[0] == asked[1]


def test_the_rules_are_ours_only_quicker(tmp_path):
    for copy in quick_rules(tmp_path, 2):
        mine, original = (yaml.safe_load((folder / copy.name).read_text()) for folder in (tmp_path, RULES))
        assert {group["interval"] for group in mine["groups"]} == {"2s"}
        rules = [group["rules"] for group in mine["groups"]]
        home = (ROOT / "docs" / "guides" / "operate.md").as_uri()
        assert json.loads(json.dumps(rules).replace(home, "docs/guides/operate.md")) == [
            group["rules"] for group in original["groups"]
        ]
        links = [rule["annotations"]["runbook_url"] for group in rules for rule in group if "alert" in rule]
        assert all(link.startswith(f"{home}#") for link in links)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: scripts/bootstrap dev does it")
def test_prometheus_takes_it(state, tmp_path):
    write_targets(tmp_path / "targets.json", targets_of(state))
    config = configuration(quick_rules(tmp_path / "rules", 2), tmp_path / "targets.json", state, 2)
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    done = subprocess.run(
        ["promtool", "check", "config", tmp_path / "prometheus.yml"], check=False, capture_output=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_a_stack_it_says_how_to_start_one(tmp_path):
    environment = {**os.environ, "MUNIFLOW_STATE_DIR": str(tmp_path)}
    command = [sys.executable, str(ROOT / "scripts" / "monitor")]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "make daemon" in done.stderr


FAKE_GRAFANA = """#!{python}
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({{"arguments": sys.argv[1:], "env": dict(os.environ)}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

HTTPServer((os.environ["GF_SERVER_HTTP_ADDR"], int(os.environ["GF_SERVER_HTTP_PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def grafana(tmp_path, monkeypatch):
    """A program of that name on the path, unpacked as its makers do; it tells how it was called."""
    unpacked = tmp_path / "grafana-12"
    for folder in ("bin", "conf"):
        (unpacked / folder).mkdir(parents=True)
    (unpacked / "conf" / "defaults.ini").touch()
    program = unpacked / "bin" / "grafana"
    program.write_text(FAKE_GRAFANA.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return unpacked


def test_a_grafana_on_the_path_is_started_with_all_dashboards(grafana, tmp_path):
    [port] = free_ports(1)
    with Grafana(tmp_path / "own", port, "http://127.0.0.1:9090") as running:
        with urllib.request.urlopen(f"{running.url}/api/health", timeout=10) as answer:  # noqa: S310  # our own
            told = json.load(answer)
        provisioned = Path(told["env"]["GF_PATHS_PROVISIONING"])
        [source] = yaml.safe_load((provisioned / "datasources" / "prometheus.yaml").read_text())["datasources"]
        [provider] = yaml.safe_load((provisioned / "dashboards" / "muniflow.yaml").read_text())["providers"]
    assert told["arguments"] == ["server", f"--homepath={grafana}"]
    assert told["env"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert told["env"]["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert source["url"] == "http://127.0.0.1:9090"
    assert {path.stem for path in Path(provider["options"]["path"]).glob("*.json")} >= {"pipeline", "failures"}
    assert not running.running, "it ends with us"


def test_without_a_grafana_nothing_is_started(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_grafana() is None


def test_monitoring_needs_no_tools_of_development():
    """Prometheus beside what `make run` installs; the tools of `make test` take minutes."""
    recipe = (ROOT / "Makefile").read_text().partition("\nmonitor:")[2].partition("\n\n")[0]
    assert "scripts/bootstrap monitor" in recipe
    bootstrap = (ROOT / "scripts" / "bootstrap").read_text()
    assert '[ "$kind" = monitor ] && requirements=cli' in bootstrap
    needed = (ROOT / "deploy/grafana/local.py", ROOT / "deploy/prometheus/monitor.py", ROOT / "scripts/monitor")
    imported = {
        name.partition(".")[0]
        for path in needed
        for name in re.findall(r"^ *(?:from|import) ([\w.]+)", path.read_text(), re.MULTILINE)
    }
    assert imported - set(sys.stdlib_module_names) <= {"deploy", "muniflow", "muniflow_cli", "yaml"}
