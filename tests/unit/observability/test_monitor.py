"""Prometheus beside a local stack: what it is told to ask, and what a person is told."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from deploy.prometheus.monitor import RULES, configuration, quick_rules, targets_of, write_targets

from muniflow.runtime.settings import StoreSettings
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
