"""What `doctor` advises: each fault is made, the advice is followed to the letter, and then `doctor` is content."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import pytest
from tests.integration.stacks import ROOT, CommandLine, kill_stack
from tests.support.inside_broker import TOO_LITTLE_MEMORY, evaluate
from tests.support.waiting import eventually

from muniflow.runtime.settings import BrokerSettings
from muniflow.transport.admin import delete_queues, open_channel
from muniflow_cli.commands import doctor
from muniflow_cli.commands.target import find_target
from muniflow_cli.stack.broker import PrivateBroker, find_server
from muniflow_cli.stack.ports import free_ports, is_open
from muniflow_cli.stack.processes import is_running
from muniflow_cli.stack.state import read_state

pytestmark = [
    pytest.mark.skipif(find_server() is None and os.environ.get("CI") != "true", reason="needs rabbitmq-server"),
    pytest.mark.timeout(300),
]
BACK_S = 90
SHORT_LIMITS = {"MUNIFLOW_CONNECT_TIMEOUT_S": "2", "MUNIFLOW_DRAIN_TIMEOUT_S": "5"}
"""With a broker that hangs: who asks it gives up after the one, and who stops after the other."""
NOBODYS = "muniflow.retry.30s"
"""A queue that nobody takes from, so that it is declared again only when the coordinator looks the next time."""
FAILURES = "failures resize"


@pytest.fixture(scope="module")
def muniflow(tmp_path_factory):
    """A stack without a worker for `blur`."""
    folder = tmp_path_factory.mktemp("advice")
    shutil.copytree(ROOT / "examples", folder / "examples")
    cli = CommandLine(folder, SHORT_LIMITS)
    yield cli
    kill_stack(cli.state_dir)


@pytest.fixture
def stack(muniflow):
    """The stack, with a worker for every operation."""
    if state_of(muniflow) is None:
        follow(muniflow, "muniflow up")
    return muniflow


def state_of(cli):
    state = read_state(cli.state_dir)
    return state if state is not None and state.running else None


def broker_of(cli):
    return BrokerSettings(amqp_url=state_of(cli).amqp_url)


def diagnose(cli, **variables):
    """What `doctor` finds, by check; without what is well. A process for each look would keep a core busy."""
    with chdir(cli.folder):
        findings = doctor.diagnose(find_target({**cli.environment, **variables}))
    return {each.check: each for each in findings if each.level != "ok"}


def found(cli, check, **variables):
    """The advice about a fault, once `doctor` sees it."""
    return eventually(lambda: diagnose(cli, **variables).get(check)).to_do


def content(cli, check, **variables):
    """Wait until `doctor` has nothing to say about it."""
    return eventually(lambda: check not in diagnose(cli, **variables), BACK_S) or True


def commands_in(advice):
    return re.findall(r"`([^`]+)`", advice)


def in_shell(cli, line):
    env = {**cli.environment, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["sh", "-c", line]
    return subprocess.run(command, cwd=cli.folder, env=env, capture_output=True, text=True, timeout=200, check=False)


def follow(cli, *commands):
    """Type commands into a shell, as they are written; `up` goes on in the background."""
    for command in commands:
        done = in_shell(cli, f"{command} --detach" if command.startswith("muniflow up") else command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def follow_up(cli, *options):
    return follow(cli, " ".join(["muniflow up", "--no-gateway", *options]))


def test_without_a_stack(muniflow):
    if is_open(5672):
        pytest.skip("another RabbitMQ runs on this machine")
    broker = found(muniflow, "broker")
    coordinator = found(muniflow, "coordinator")
    assert commands_in(broker) == commands_in(coordinator) == ["muniflow up"]

    follow_up(muniflow, "--workers", "blur=0")

    assert {"broker", "coordinator"}.isdisjoint(diagnose(muniflow))


def test_an_operation_without_a_worker(muniflow):
    if state_of(muniflow) is None:
        follow_up(muniflow, "--workers", "blur=0")
    down, up = commands_in(found(muniflow, "queue muniflow.step.blur"))

    follow(muniflow, down, up)

    assert content(muniflow, "queue muniflow.step.blur")


def test_a_queue_that_is_missing(stack):
    def missing():
        delete_queues(broker_of(stack), [NOBODYS])
        return diagnose(stack).get(f"queue {NOBODYS}")

    [command] = commands_in(eventually(missing).to_do)

    follow(stack, command)

    assert content(stack, f"queue {NOBODYS}")


def test_a_queue_that_is_declared_otherwise(stack):
    delete_queues(broker_of(stack), [NOBODYS])
    with open_channel(broker_of(stack)) as channel:
        channel.queue_declare(NOBODYS, durable=True)
    [command] = commands_in(found(stack, f"queue {NOBODYS}"))

    follow(stack, command)

    assert content(stack, f"queue {NOBODYS}")


def test_a_user_without_rights(stack):
    nothing = ", ".join(['<<"">>'] * 3)
    evaluate(
        PrivateBroker(stack.state_dir / "broker"),
        f'rabbit_auth_backend_internal:set_permissions(<<"muniflow">>, <<"/">>, {nothing}, <<"tests">>)',
    )
    [command] = commands_in(found(stack, "permissions"))

    follow(stack, command)

    assert content(stack, "permissions")
    batch = stack.write_batch("with-rights", images=["coffee.png"])
    assert stack.read("submit", batch, "--wait")["state"] == "done"


@pytest.mark.parametrize(
    "fault",
    [
        f"vm_memory_monitor:set_vm_memory_high_watermark({TOO_LITTLE_MEMORY})",
        'rabbit_disk_monitor:set_disk_free_limit("1000000GB")',
    ],
    ids=["memory", "disk"],
)
def test_an_alarm(stack, fault):
    evaluate(PrivateBroker(stack.state_dir / "broker"), fault)
    [command] = commands_in(found(stack, "alarm"))

    follow(stack, command)

    assert content(stack, "alarm")


def test_dead_letters(stack):
    stack.read("submit", stack.write_batch("dead", images=["coffee.png", "late.jpg"]), "--wait", code=1)
    look, again = commands_in(found(stack, FAILURES))
    images = stack.folder / "examples/images"

    follow(stack, look)
    shutil.copy(images / "rocket.jpg", images / "late.jpg")
    follow(stack, again)

    assert content(stack, FAILURES)
    eventually(lambda: stack.read("status", "dead")["state"] == "done")


@pytest.mark.parametrize(("name", "check"), [("coordinator", "coordinator"), ("broker", "broker")])
def test_a_process_that_was_killed_comes_back_by_itself(stack, name, check):
    [process] = [each for each in state_of(stack).processes if each.name == name]
    os.kill(process.identity.pid, signal.SIGKILL)
    eventually(lambda: not is_running(process.identity))
    findings = diagnose(stack)
    if check in findings:  # it may be back already
        assert "starts it again by itself" in findings[check].to_do

    assert content(stack, check)


def test_the_source_is_no_folder(stack, tmp_path):
    url = f"file://{tmp_path}/images"
    assert "make it" in found(stack, "source store", MUNIFLOW_SOURCE_URL=url)

    (tmp_path / "images").mkdir()

    assert content(stack, "source store", MUNIFLOW_SOURCE_URL=url)


@pytest.mark.parametrize("name", ["work", "output"])
def test_a_store_that_cannot_be_written(stack, tmp_path, name):
    (tmp_path / "file").touch()
    variable = f"MUNIFLOW_{name.upper()}_URL"
    assert f"check {variable}" in found(stack, f"{name} store", **{variable: f"file://{tmp_path}/file"})

    assert content(stack, f"{name} store", **{variable: f"file://{tmp_path}/folder"})


def test_a_ledger_that_is_no_database_is_restored(stack, tmp_path):
    backup, ledger = tmp_path / "backup.db", tmp_path / "ledger.db"
    with sqlite3.connect(backup) as connection:
        connection.execute("CREATE TABLE images (n INTEGER)")
    connection.close()
    ledger.write_bytes(b"not a database" * 100)
    assert "restore the file from a backup" in found(stack, "ledger", MUNIFLOW_DATABASE_URL=f"sqlite:///{ledger}")

    shutil.copy(backup, ledger)

    assert content(stack, "ledger", MUNIFLOW_DATABASE_URL=f"sqlite:///{ledger}")


def test_metrics_at_another_address(stack):
    [port] = free_ports(1)
    advice = found(stack, "alarm", MUNIFLOW_RABBITMQ_METRICS_URL=f"http://127.0.0.1:{port}")
    assert advice == "check MUNIFLOW_RABBITMQ_METRICS_URL"

    assert content(stack, "alarm", MUNIFLOW_RABBITMQ_METRICS_URL=state_of(stack).rabbitmq_metrics_url)


def test_too_few_open_files(stack):
    def limits(line):
        done = in_shell(stack, f"ulimit -Sn 256; {line}")
        return [each for each in json.loads(done.stdout) if each["check"] == "limits"]

    [finding] = limits("muniflow doctor --json")
    [command] = commands_in(finding["to_do"])

    assert [each["level"] for each in limits(f"{command}; muniflow doctor --json")] == ["ok"]


def test_a_broker_that_hangs(stack):
    """The last one: it takes the stack down and up."""
    [process] = [each for each in state_of(stack).processes if each.name == "broker"]
    os.kill(process.identity.pid, signal.SIGSTOP)
    down, up = commands_in(found(stack, "broker"))[-2:]
    done = stack("recover")
    assert (done.returncode, "was silent for longer than" in done.stderr) == (69, True), done.stderr

    follow(stack, down)
    log = (stack.state_dir / "up.log").read_text()
    assert log.index("broker does not end; killed") < log.index("draining the workers"), "they would wait in vain"
    follow(stack, up)

    assert content(stack, "broker")
