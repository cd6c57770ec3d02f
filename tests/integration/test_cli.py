"""The command line against a whole stack on this machine: broker, coordinator and workers as processes."""

import json
import os
import shutil
import signal
import sys
from urllib.parse import urlsplit

import pytest
import yaml
from tests.integration.stacks import ROOT, CommandLine
from tests.support import web
from tests.support.hooks import SECRET, receiving
from tests.support.waiting import eventually

from muniflow.model.topology import AUDIT, CONTROL, EVENTS, LOST, step_queue
from muniflow.runtime.settings import BrokerSettings
from muniflow.transport.admin import open_channel, republish
from muniflow.transport.connection import user_of
from muniflow.transport.types import OutgoingMessage
from muniflow_cli.stack.broker import find_server
from muniflow_cli.stack.processes import is_running
from muniflow_cli.stack.state import read_state

pytestmark = [
    pytest.mark.skipif(find_server() is None and os.environ.get("CI") != "true", reason="needs rabbitmq-server"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def hooks():
    with receiving() as server:
        yield server


@pytest.fixture(scope="module")
def muniflow(tmp_path_factory, hooks):
    folder = tmp_path_factory.mktemp("stack")
    shutil.copytree(ROOT / "examples", folder / "examples")
    cli = CommandLine(folder, hooks.variables(tmp_path_factory.mktemp("secrets")))
    done = cli("up", "--detach", "--workers", "blur=2", timeout_s=200)
    assert done.returncode == 0, done.stderr
    assert f"keys make NAME --file {cli.state_dir / 'api-keys'}" in done.stdout
    assert "AMQP: amqp://muniflow:***@127.0.0.1:" in done.stdout
    state = read_state(cli.state_dir)
    assert state is not None
    assert str(urlsplit(state.amqp_url).password) not in done.stdout
    yield cli
    cli("down", timeout_s=200)


def state_of(muniflow):
    return read_state(muniflow.state_dir)


def test_a_batch_goes_through(muniflow):
    batch = muniflow.write_batch("whole")

    status = muniflow.read("submit", batch, "--wait")

    assert (status["state"], status["total"], status["done"]) == ("done", 6, 6)
    outputs = sorted((muniflow.folder / ".muniflow/output/whole").glob("*.jpg"))
    assert len(outputs) == 24
    assert muniflow.read("report", "whole")["totals"]["outputs"] == 24
    assert muniflow.read("status", "whole")["state"] == "done"
    assert "whole" in [each["batch_id"] for each in muniflow.read("status")["batches"]]
    assert muniflow.read("watch", "whole")["state"] == "done"


def test_the_same_batch_again_is_not_run_again(muniflow):
    batch = muniflow.write_batch("twice", images=["coffee.png"])
    first = muniflow.read("submit", batch, "--wait")

    second = muniflow.read("submit", batch, "--wait")

    assert second["submitted_at"] == first["submitted_at"]


def test_the_whole_address_of_the_broker_is_printed_where_it_is_asked_for(muniflow):
    assert muniflow("url").stdout == f"{state_of(muniflow).amqp_url}\n"
    assert muniflow.read("url") == {"amqp_url": state_of(muniflow).amqp_url}


def test_a_webhook_tells_the_end_of_a_batch(muniflow, hooks):
    muniflow.read("submit", muniflow.write_batch("told", images=["coffee.png"], callback=hooks.url), "--wait")
    eventually(lambda: hooks.subjects, what="the webhook")
    assert hooks.subjects == ["told"]
    eventually(lambda: not muniflow.read("webhooks")["webhooks"])

    refused = muniflow.write_batch("elsewhere", images=["coffee.png"], callback="https://hooks.example.org/")
    answer = muniflow.read("submit", refused, code=2)
    assert [fault["place"] for fault in answer["faults"]] == ["callback"]
    assert SECRET not in "".join(path.read_text() for path in muniflow.state_dir.glob("**/*.log"))


def test_every_example_of_the_asyncapi_document_is_taken_as_it_stands(muniflow):
    components = yaml.safe_load((ROOT / "docs/reference/asyncapi.yaml").read_text())["components"]["messages"]
    examples = {name: message["examples"][0]["payload"] for name, message in components.items()}
    batch = muniflow.folder / "example.json"
    batch.write_text(json.dumps(examples.pop("batch")))
    ended = muniflow.read("submit", str(batch), "--wait")
    assert (ended["state"], ended["done"]) == ("done", 6)
    letters = muniflow.read("dead", "list")["letters"]
    queues = {"command": [CONTROL], "auditentry": [AUDIT], "events": [EVENTS], "task": [step_queue("blur"), LOST]}
    assert set(examples) == {*queues, "notice"}, "a notice is what the coordinator sends"
    settings = BrokerSettings(amqp_url=state_of(muniflow).amqp_url)
    with open_channel(settings, "test") as channel:
        for name, addresses in queues.items():
            for queue in addresses:
                body = json.dumps(examples[name]).encode()
                republish(channel, OutgoingMessage(queue, body, exchange="", user_id=user_of(settings)))

    def seen():
        entries = muniflow.read("audit", "--batch", ended["batch_id"])["entries"]
        return {"download", "replay"} <= {entry["action"] for entry in entries}

    eventually(seen, what="a command and an entry of the audit trail")
    eventually(lambda: not [stage["ready"] for stage in muniflow.read("stages")["stages"] if stage["ready"]])
    assert muniflow.read("dead", "list")["letters"] == letters, "none is given up"
    assert muniflow.read("status", ended["batch_id"])["state"] == "done"


def test_progress_in_a_log_is_lines_and_a_table(muniflow):
    done = muniflow("submit", muniflow.write_batch("lines", images=["coffee.png"]), "--wait")

    assert done.returncode == 0
    assert "lines: done · images 1/1 · 1 resize 1/1 · 2 split 1/1 · 3 blur 4/4" in done.stdout
    assert "\x1b" not in done.stdout
    assert "report: lines/report.json" in done.stdout


def test_a_wrong_batch_is_refused_before_it_is_sent(muniflow):
    batch = muniflow.write_batch("wrong", operations=[["sharpen", 1], ["blur", "much"]], output="gif")

    done = muniflow("submit", batch)

    assert done.returncode == 2
    assert [line.split(":")[0].strip() for line in done.stderr.splitlines()] == [
        "error", "operations[0]", "operations[1]", "output",
    ]  # fmt: skip


def test_the_same_id_with_other_content_is_refused_by_the_coordinator(muniflow):
    muniflow.read("submit", muniflow.write_batch("taken", images=["coffee.png"]), "--wait")

    answer = muniflow.read("submit", muniflow.write_batch("taken", images=["rocket.jpg"]), code=2)

    assert answer["state"] == "rejected"
    assert answer["faults"][0]["place"] == "batch_id"


def test_a_missing_image_fails_alone_and_is_replayed_when_it_is_there(muniflow):
    batch = muniflow.write_batch("replayed", images=["coffee.png", "late.jpg"])

    status = muniflow.read("submit", batch, "--wait", code=1)

    assert (status["state"], status["done"], status["failed"]) == ("partial", 1, 1)
    [failure] = muniflow.read("dead", "list", "--batch", "replayed")["failures"]
    assert (failure["image"], failure["operation"], failure["reason_code"]) == (1, "resize", "source_missing")
    assert "late.jpg" in failure["reasons"][0]
    [group] = muniflow.read("dead", "reasons", "--batch", "replayed")
    assert (group["reason_code"], group["images"]) == ("source_missing", 1)
    [whole] = muniflow.read("dead", "show", "--batch", "replayed", "--image", "1")
    assert whole["source"] == "examples/images/late.jpg"

    images = muniflow.folder / "examples/images"
    shutil.copy(images / "rocket.jpg", images / "late.jpg")
    try:
        assert muniflow.read("dead", "replay", "--batch", "replayed") == {"replayed": 1}
        eventually(lambda: muniflow.read("status", "replayed")["state"] == "done")
    finally:
        (images / "late.jpg").unlink()
    assert muniflow.read("dead", "list", "--batch", "replayed")["failures"] == []
    assert muniflow.read("report", "replayed")["state"] == "done"
    rows = muniflow("report", "replayed", "--format", "ndjson").stdout.splitlines()
    assert [json.loads(row)["state"] for row in rows] == ["done", "done"]
    assert muniflow("report", "replayed", "--format", "csv").stdout.startswith("image,source,state,reason_code")


def test_dead_letters_are_dropped_only_when_named(muniflow):
    muniflow.read("submit", muniflow.write_batch("dropped", images=["nowhere.jpg"]), "--wait", code=1)

    assert muniflow("dead", "drop").returncode == 2
    assert muniflow.read("dead", "drop", "--batch", "another") == {"dropped": 0}
    assert muniflow.read("dead", "drop", "--batch", "dropped") == {"dropped": 1}
    eventually(lambda: not muniflow.read("dead", "list", "--batch", "dropped")["failures"])


def test_a_batch_that_is_not_known_is_a_sentence(muniflow):
    for arguments in (["status", "unknown"], ["watch", "unknown"], ["cancel", "unknown"], ["report", "unknown"]):
        done = muniflow(*arguments)
        assert done.returncode == 2, arguments
        assert "unknown" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_batch_that_ended_cannot_be_cancelled(muniflow):
    muniflow.read("submit", muniflow.write_batch("ended", images=["coffee.png"]), "--wait")

    done = muniflow("cancel", "ended")

    assert done.returncode == 2
    assert "it is done" in done.stderr


def known(deployments):
    return deployments if all(one["wanted"] is not None and one["running"] for one in deployments) else None


def test_the_stages_are_listed(muniflow):
    stages = {stage["op"]: stage for stage in muniflow.read("stages")["stages"]}

    assert set(stages) == {"resize", "split", "blur"}
    found = eventually(lambda: known(muniflow.read("stages")["deployments"]), what="a forecast")
    replicas = {one["name"]: (one["wanted"], one["running"]) for one in found}
    assert replicas == {"resize": (1, 1), "split": (1, 1), "blur": (2, 2)}, "a stack wants what it has"
    assert muniflow("stages").returncode == 0


def test_the_doctor_finds_nothing_wrong(muniflow):
    findings = muniflow.read("doctor")

    assert [finding for finding in findings if finding["level"] == "error"] == []
    checks = {finding["check"] for finding in findings}
    assert checks >= {"broker", "permissions", "queues", "alarm", "coordinator", "ledger", "output store", "limits"}


def test_its_gateway_is_closed_until_there_is_a_key(muniflow):
    url = state_of(muniflow).gateway_url

    answer = web.get(f"{url}/v1/batches")

    assert answer.status_code == 401
    assert "MUNIFLOW_GATEWAY_OPEN=true" in answer.json()["detail"]


def test_open_to_others_is_refused_before_anything_starts(tmp_path):
    done = CommandLine(tmp_path, {"MUNIFLOW_GATEWAY_BIND": "0.0.0.0:8080"})("up", "--open")

    assert done.returncode == 2
    assert "MUNIFLOW_GATEWAY_OPEN" in done.stderr
    assert "MUNIFLOW_GATEWAY_BIND=0.0.0.0:8080" in done.stderr
    assert not (tmp_path / ".muniflow/broker").exists()


def test_a_second_stack_in_the_same_folder_is_refused(muniflow):
    done = muniflow("up")

    assert done.returncode == 2
    assert "muniflow down" in done.stderr


def test_a_worker_that_is_killed_is_started_again(muniflow):
    def worker():
        [found] = [each for each in state_of(muniflow).processes if each.name == "split-1"] or [None]
        return found

    first = worker()
    os.kill(first.identity.pid, signal.SIGKILL)

    eventually(lambda: (now := worker()) and now.identity != first.identity and state_of(muniflow).ready)
    assert "split-1 was ended by SIGKILL" in (muniflow.state_dir / "up.log").read_text()


def test_the_console_knows_the_stack(muniflow):
    import subprocess

    done = subprocess.run(
        [sys.executable, "-m", "muniflow_cli.main", "console"],
        input="print(coordinator.info().operations)\n",
        cwd=muniflow.folder,
        env=muniflow.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert "('blur', 'resize', 'split')" in done.stdout


def test_what_a_killed_supervisor_left_is_ended_by_down(muniflow):
    """The last one: it ends the stack."""
    state = state_of(muniflow)
    os.kill(state.supervisor.pid, signal.SIGKILL)
    eventually(lambda: not state_of(muniflow).running)
    assert state.left, "the processes go on without it"

    assert json.loads(muniflow("down", "--json", timeout_s=120).stdout) == {"stopped": True}

    assert [each.name for each in state.processes if is_running(each.identity)] == []
    assert json.loads(muniflow("down", "--json").stdout) == {"stopped": False}
