import socket
import sqlite3

import pytest

from muniflow.model.topology import topology
from muniflow.runtime.settings import BrokerSettings, StoreSettings
from muniflow.transport.admin import Depth
from muniflow_cli.commands.check_broker import alarm_findings, check_broker, depth_findings, version_findings
from muniflow_cli.commands.check_here import (
    check_alarms,
    check_coordinator,
    check_database,
    check_operations,
    check_stores,
)
from muniflow_cli.commands.findings import Finding, worst
from muniflow_cli.commands.remedies import Remedies
from muniflow_cli.commands.target import find_target
from muniflow_cli.stack.ports import free_ports


def levels(findings):
    return {finding.check: finding.level for finding in findings}


@pytest.mark.parametrize(
    ("product", "version", "level"),
    [
        ("RabbitMQ", "3.10.8", "ok"),
        ("RabbitMQ", "4.3.0", "ok"),
        ("RabbitMQ", "4.4.0", "warning"),
        ("RabbitMQ", "3.9.29", "error"),
        ("LavinMQ", "2.0.0", "warning"),
        ("RabbitMQ", "?", "warning"),
    ],
)
def test_the_version_of_the_broker(product, version, level):
    findings = version_findings({"product": product, "version": version})
    assert levels(findings)["broker"] == level
    assert worst(findings) == level


def test_who_consumes_and_what_was_given_up():
    depths = {
        "muniflow.step.blur": Depth(5, 0),
        "muniflow.step.resize": Depth(0, 0),
        "muniflow.step.split": Depth(9, 1),
        "muniflow.step.split.dead": Depth(2, 0),
        "muniflow.retry.5s": Depth(3, 0),
        "muniflow.events": Depth(0, 1),
    }

    findings = {finding.check: finding for finding in depth_findings(depths, Remedies())}

    assert levels(findings.values()) == {
        "queue muniflow.step.blur": "error",
        "queue muniflow.step.resize": "warning",
        "queue muniflow.step.split.dead": "error",
    }
    assert "no coordinator takes from it; 2 wait" in findings["queue muniflow.step.split.dead"].what


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("rabbitmq_alarms_memory_used_watermark 0\n", "ok"),
        ("# HELP rabbitmq_alarms_memory_used_watermark is 1\n", "ok"),
        ("rabbitmq_alarms_memory_used_watermark 1\n", "error"),
        ('rabbitmq_alarms_free_disk_space_watermark{node="a"} 1\n', "error"),
    ],
)
def test_alarms(text, level):
    assert worst(alarm_findings(text, Remedies())) == level


def test_a_broker_that_is_away_is_one_finding_with_what_to_do():
    [port] = free_ports(1)

    settings = BrokerSettings(amqp_url=f"amqp://127.0.0.1:{port}")

    [finding] = check_broker(settings, topology(["blur"]), Remedies(named=False))

    assert finding.level == "error"
    assert "muniflow up" in finding.to_do


def test_a_broker_that_is_silent_is_a_finding_within_its_time():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"amqp://127.0.0.1:{silent.getsockname()[1]}"
        settings = BrokerSettings(amqp_url=url, connect_timeout_s=0.5)

        [finding] = check_broker(settings, topology(["blur"]), Remedies())

    assert finding.level == "error"
    assert "was silent for longer than 0.5 s" in finding.what


def test_metrics_and_coordinator_that_are_away(tmp_path):
    [port] = free_ports(1)
    env = {"MUNIFLOW_STATE_DIR": str(tmp_path), "MUNIFLOW_COORDINATOR_URL": f"http://127.0.0.1:{port}"}

    assert levels(check_coordinator(find_target(env), Remedies())) == {"coordinator": "error"}
    assert levels(check_alarms(f"http://127.0.0.1:{port}", Remedies())) == {"alarm": "warning"}
    assert levels(check_alarms(None, Remedies())) == {"alarm": "warning"}


def test_stores(tmp_path):
    (tmp_path / "file").touch()
    stores = StoreSettings(
        source_url=f"file://{tmp_path}/nowhere",
        work_url=f"file://{tmp_path}/work",
        output_url=f"file://{tmp_path}/file",
    )

    assert levels(check_stores(stores)) == {"source store": "error", "work store": "ok", "output store": "error"}


def test_the_ledger(tmp_path):
    good, bad = tmp_path / "good.db", tmp_path / "bad.db"
    with sqlite3.connect(good) as connection:
        connection.execute("CREATE TABLE images (n INTEGER)")
    connection.close()
    bad.write_bytes(b"not a database" * 100)

    assert levels(check_database(f"sqlite:///{good}")) == {"ledger": "ok"}
    assert levels(check_database(f"sqlite:///{bad}")) == {"ledger": "error"}
    assert levels(check_database(f"sqlite:///{tmp_path}/new.db")) == {"ledger": "warning"}
    assert check_database("postgresql://elsewhere") == []


def test_no_operation_is_a_warning():
    assert levels(check_operations({})) == {"operations": "warning"}


def test_every_finding_that_is_not_ok_says_what_to_do():
    findings = [
        *depth_findings({"muniflow.events": Depth(0, 0), "muniflow.step.blur": Depth(1, 0)}, Remedies()),
        *alarm_findings("rabbitmq_alarms_memory_used_watermark 1", Remedies()),
        *check_operations({}),
        *version_findings({"product": "RabbitMQ", "version": "3.8.1"}),
    ]

    assert all(finding.to_do for finding in findings if finding.level != "ok")
    assert worst(findings) == "error"
    assert worst([Finding("ok", "a", "b"), Finding("warning", "a", "b", "c")]) == "warning"
