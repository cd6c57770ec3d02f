"""What `doctor` advises about this machine and a named coordinator: each fault is made, and the advice followed.

`tests/integration/test_doctor_advice.py` does so for a stack of `muniflow up`, and
`tests/integration/test_doctor_advice_elsewhere.py` for one of somebody else. `TRIED` is the list of all advice.
"""

import ast
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.server import ThreadingHTTPServer
from importlib.metadata import distribution
from pathlib import Path
from threading import Thread

import pytest
from tests.support.http_server import LocalHandler

from muniflow.model.api import INFO, Info
from muniflow_cli.commands.check_broker import alarm_findings, version_findings
from muniflow_cli.commands.check_here import LOW_DISK_BYTES
from muniflow_cli.commands.doctor import diagnose
from muniflow_cli.commands.findings import Finding
from muniflow_cli.commands.remedies import Remedies
from muniflow_cli.commands.target import find_target
from muniflow_cli.stack.ports import free_ports

ROOT = Path(__file__).parents[3]
COMMANDS = ROOT / "libs/cli/muniflow_cli/commands"
NOBODY = 65534


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A named broker that is away, and stores in a folder of this test."""
    (tmp_path / "source").mkdir()
    [port] = free_ports(1)
    return {
        "MUNIFLOW_AMQP_URL": f"amqp://127.0.0.1:{port}",
        "MUNIFLOW_STATE_DIR": str(tmp_path / "state"),
        "MUNIFLOW_SOURCE_URL": f"file://{tmp_path}/source",
        "MUNIFLOW_WORK_URL": f"file://{tmp_path}/work",
        "MUNIFLOW_OUTPUT_URL": f"file://{tmp_path}/output",
    }


@pytest.fixture
def private_folder(env: dict[str, str]) -> Iterator[Path]:
    """A folder of a user to whom permissions apply; this process is that user meanwhile."""
    folder = Path(tempfile.mkdtemp())
    env["MUNIFLOW_STATE_DIR"] = f"{folder}/state"
    env.update({f"MUNIFLOW_{name.upper()}_URL": f"file://{folder}/{name}" for name in ("source", "work", "output")})
    user = os.geteuid()
    if user == 0:
        os.chown(folder, NOBODY, -1)
        os.seteuid(NOBODY)
    (folder / "private").mkdir()
    try:
        yield folder / "private"
    finally:
        os.seteuid(user)
        shutil.rmtree(folder)


def found(env: Mapping[str, str], check: str) -> Finding | None:
    """What is wrong with one thing."""
    wrong = [each for each in diagnose(find_target(env)) if each.check == check and each.level != "ok"]
    assert len(wrong) < 2, wrong
    return wrong[0] if wrong else None


def advice(env: Mapping[str, str], check: str) -> str:
    finding = found(env, check)
    assert finding is not None, f"{check}: not found"
    return finding.to_do


class Coordinator(ThreadingHTTPServer):
    """Answers for a coordinator, and for RabbitMQ's metrics."""

    def __init__(self, info: Info) -> None:
        self.info = info
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(LocalHandler):
    server: Coordinator

    def do_GET(self) -> None:
        self.answer(200 if self.path == INFO else 404, self.server.info.model_dump_json().encode())


@contextmanager
def coordinator(info: Info) -> Iterator[Coordinator]:
    with Coordinator(info) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


WELL = Info(version="1", operations=("blur",), connected=True)


def test_no_coordinator_is_named(env: dict[str, str]) -> None:
    assert advice(env, "coordinator").startswith("set MUNIFLOW_COORDINATOR_URL")

    with coordinator(WELL) as server:
        assert found({**env, "MUNIFLOW_COORDINATOR_URL": server.url}, "coordinator") is None


def test_a_coordinator_without_a_step_package(env: dict[str, str]) -> None:
    """Installing is not tried here, only that it ends the finding: `test_no_step_package_is_installed` installs one."""
    with coordinator(WELL.model_copy(update={"operations": ()})) as server:
        env["MUNIFLOW_COORDINATOR_URL"] = server.url
        assert advice(env, "coordinator") == "install muniflow-<op> there, and start the coordinator again"

        server.info = WELL

        assert found(env, "coordinator") is None


def test_a_coordinator_that_an_alarm_blocks(env: dict[str, str]) -> None:
    """A real alarm, and the command that ends it, are in `test_an_alarm` of both other files."""
    with coordinator(WELL.model_copy(update={"blocked": "low on memory"})) as server:
        env["MUNIFLOW_COORDINATOR_URL"] = server.url
        assert advice(env, "coordinator") == "see the alarm"

        server.info = WELL

        assert found(env, "coordinator") is None


def test_a_ledger_that_was_lost(env: dict[str, str]) -> None:
    """`muniflow recover`, of which the guide tells, is tried in `tests/contract/test_recover.py`."""
    with coordinator(WELL.model_copy(update={"unknown_events": 5, "unknown_batches": ("forgotten",)})) as server:
        env["MUNIFLOW_COORDINATOR_URL"] = server.url
        place = re.search(r"(docs/guides/operate\.md)#back-up", advice(env, "ledger"))
        assert place
        guide = (ROOT / place[1]).read_text()
        assert "`muniflow recover`" in guide[guide.index("\n## Back up\n") :]

        server.info = WELL

        assert found(env, "ledger") is None


def test_no_step_package_is_installed(env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [installed] = Path(sys.prefix).glob("lib/*/site-packages/muniflow_resize-*.dist-info")
    monkeypatch.setattr(sys, "path", [each for each in sys.path if Path(each) != installed.parent])
    to_do = advice(env, "operations")
    package = re.search(r"install one, such as ([\w-]+)", to_do)
    assert package, to_do

    (tmp_path / "site").mkdir()
    (tmp_path / "site" / installed.name).symlink_to(installed)
    sys.path.append(str(tmp_path / "site"))

    assert distribution(package[1]).version, "the name in the advice is that of a package"
    assert found(env, "operations") is None


def test_the_source_cannot_be_read(env: dict[str, str], private_folder: Path) -> None:
    source = private_folder / "source"
    source.mkdir(mode=0o000)
    env["MUNIFLOW_SOURCE_URL"] = f"file://{source}"
    assert advice(env, "source store") == "check MUNIFLOW_SOURCE_URL and its permissions"

    source.chmod(0o700)

    assert found(env, "source store") is None


def test_stores_and_ledger_in_a_folder_that_cannot_be_entered(env: dict[str, str], private_folder: Path) -> None:
    (private_folder / "source").mkdir()
    with closing(sqlite3.connect(private_folder / "ledger.db")) as made:
        made.execute("CREATE TABLE images (n INTEGER)")
    for name in ("source", "work", "output"):
        env[f"MUNIFLOW_{name.upper()}_URL"] = f"file://{private_folder}/{name}"
    env["MUNIFLOW_DATABASE_URL"] = f"sqlite:///{private_folder}/ledger.db"
    private_folder.chmod(0o000)
    for check in ("source store", "work store", "output store", "ledger"):
        assert "permissions" in advice(env, check)

    private_folder.chmod(0o700)

    for check in ("source store", "work store", "output store", "ledger"):
        assert found(env, check) is None


def test_a_ledger_that_cannot_be_read(env: dict[str, str], private_folder: Path) -> None:
    ledger = private_folder / "led#ger %3f.db"
    with closing(sqlite3.connect(ledger)) as made:
        made.execute("CREATE TABLE images (n INTEGER)")
    ledger.chmod(0o000)
    env["MUNIFLOW_DATABASE_URL"] = f"sqlite:///{ledger}"
    assert advice(env, "ledger") == "check that it is on a local volume, and its permissions"

    ledger.chmod(0o600)

    assert found(env, "ledger") is None


def test_little_disk_space(env: dict[str, str], tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    size = LOW_DISK_BYTES + 2**26
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(work)]
    mount = subprocess.run(command, check=False, capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"cannot mount a small volume here: {mount.stderr.strip()}")
    try:
        with (work / "big").open("wb") as big:
            os.posix_fallocate(big.fileno(), 0, 2**27)
        assert advice(env, "limits") == "free space"

        (work / "big").unlink()

        assert found(env, "limits") is None
    finally:
        subprocess.run(["umount", "-l", work], check=True)


def test_a_broker_without_free_file_descriptors() -> None:
    """As its metrics say it: RabbitMQ up to 3.12 has the alarm, and only its start under another limit ends it."""
    raised = "rabbitmq_alarms_file_descriptor_limit 1\n"

    [finding] = alarm_findings(raised, Remedies())

    assert "ulimit -n" in finding.to_do
    assert [each.level for each in alarm_findings(raised.replace("1", "0"), Remedies())] == ["ok"]


@pytest.mark.parametrize(
    ("product", "version", "to_do"),
    [
        ("RabbitMQ", "3.9.29", "upgrade it: muniflow needs 3.10 or later"),
        ("RabbitMQ", "4.4.0", "4.3 is the newest that is tested: try a batch first, and run `make test-brokers`"),
        ("LavinMQ", "2.0.0", "muniflow is tested with RabbitMQ only"),
    ],
)
def test_another_broker(product: str, version: str, to_do: str) -> None:
    """No such broker can be installed for a test; the finding is made from what one says of itself."""
    assert version_findings({"product": product, "version": version})[0].to_do == to_do
    for target in re.findall(r"`make ([\w-]+)`", to_do):
        assert f"\n{target}:" in (ROOT / "Makefile").read_text()

    assert {each.level for each in version_findings({"product": "RabbitMQ", "version": "4.3.0"})} == {"ok"}


def test_the_log_of_a_stack(tmp_path: Path) -> None:
    """Where the log is; what is wrong with a connection is for a person to read there."""
    assert Remedies(logs=tmp_path).see_log() == f"look at its log: {tmp_path}/coordinator.log"


STACK, ELSEWHERE, HERE = "test_doctor_advice.py", "test_doctor_advice_elsewhere.py", Path(__file__).name
CLUSTER = "test_check_cluster.py"
TRIED = {
    "_permissions: see the alarm": (ELSEWHERE, "test_an_alarm"),
    "_source: check MUNIFLOW_SOURCE_URL and its permis": (HERE, "test_the_source_cannot_be_read"),
    "_source: make it, or set MUNIFLOW_SOURCE_URL to w": (STACK, "test_the_source_is_no_folder"),
    "_written: check …, its permissions and its space": (STACK, "test_a_store_that_cannot_be_written"),
    "alarms: free space on the broker's volume, or: …": (STACK, "test_an_alarm"),
    "alarms: give the broker more memory, or raise it": (STACK, "test_an_alarm"),
    "alarms: start the broker with a higher limit of": (HERE, "test_a_broker_without_free_file_descriptors"),
    "broker_away: `muniflow up` starts a private one; or n": (STACK, "test_without_a_stack"),
    "broker_away: self._comes_back('broker')": (STACK, "test_a_process_that_was_killed_comes_back_by_itself"),
    "broker_away: start it, or correct MUNIFLOW_AMQP_URL;": (ELSEWHERE, "test_a_broker_that_is_away"),
    "check_alarms: `rabbitmq-plugins enable rabbitmq_promet": (ELSEWHERE, "test_metrics_that_are_not_known"),
    "check_coordinator: install muniflow-<op> there, and start t": (HERE, "test_a_coordinator_without_a_step_package"),
    "check_coordinator: lost or restored from an old copy? docs/": (HERE, "test_a_ledger_that_was_lost"),
    "check_coordinator: see the alarm": (HERE, "test_a_coordinator_that_an_alarm_blocks"),
    "check_coordinator: set MUNIFLOW_COORDINATOR_URL, or `munifl": (HERE, "test_no_coordinator_is_named"),
    "check_database: check that it is on a local volume, and": (HERE, "test_a_ledger_that_cannot_be_read"),
    "check_database: stop the coordinator and restore the fil": (
        STACK,
        "test_a_ledger_that_is_no_database_is_restored",
    ),
    "check_database: the coordinator makes it when it starts": (ELSEWHERE, "test_a_coordinator_that_is_away"),
    "check_limits: `ulimit -n …`": (STACK, "test_too_few_open_files"),
    "check_limits: free space": (HERE, "test_little_disk_space"),
    "_unscheduled: give the cluster room, or the stage othe": (CLUSTER, "test_a_pod_that_no_node_takes"),
    "check_cluster: `helm install` (docs/guides/deploy.md),": (
        CLUSTER,
        "test_an_empty_namespace_and_a_cluster_that_refuses",
    ),
    "check_cluster: check --context, --namespace and your ri": (
        CLUSTER,
        "test_an_empty_namespace_and_a_cluster_that_refuses",
    ),
    "check_operations: install one, such as muniflow-resize; `s": (HERE, "test_no_step_package_is_installed"),
    "coordinator_away: self._comes_back('coordinator')": (STACK, "test_a_process_that_was_killed_comes_back_by_itself"),
    "coordinator_away: start it where it is asked: `MUNIFLOW_HT": (ELSEWHERE, "test_a_coordinator_that_is_away"),
    "coordinator_away: start it: `python -m muniflow_coordinato": (
        ELSEWHERE,
        "test_a_coordinator_whose_address_is_not_known",
    ),
    "declared_otherwise: stop what takes from it, if anything doe": (STACK, "test_a_queue_that_is_declared_otherwise"),
    "_failed: see why: `muniflow dead list --stage …`;": (STACK, "test_dead_letters"),
    "judge: it works; when you upgrade: to 3.13 firs": (ELSEWHERE, "test_the_upgrade_of_an_old_broker"),
    "judge: muniflow is tested with RabbitMQ only": (HERE, "test_another_broker"),
    "judge: upgrade it: muniflow needs … or later": (HERE, "test_another_broker"),
    "judge: … is the newest that is tested: try a ba": (HERE, "test_another_broker"),
    "metrics_away: check MUNIFLOW_RABBITMQ_METRICS_URL": (STACK, "test_metrics_at_another_address"),
    "metrics_away: self._comes_back('broker')": (STACK, "test_a_process_that_was_killed_comes_back_by_itself"),
    "no_consumer: a worker that ended starts again by itse": (STACK, "test_an_operation_without_a_worker"),
    "no_consumer: start a worker: `python -m muniflow_…`": (ELSEWHERE, "test_an_operation_without_a_worker"),
    "not_declared: the coordinator declares it: start it, o": (STACK, "test_a_queue_that_is_missing"),
    "permissions: give the user its rights: …": (STACK, "test_a_user_without_rights"),
    "see_log: look at its log": (ELSEWHERE, "test_a_broker_that_is_away"),
    "see_log: look at its log: …": (HERE, "test_the_log_of_a_stack"),
}


def advised() -> set[str]:
    """Where the code has advice: the text of each, up to what is filled in, with the function that gives it."""
    texts = set()
    for path in (
        *COMMANDS.glob("check_*.py"),
        COMMANDS / "remedies.py",
        ROOT / "libs/common/muniflow/transport/versions.py",
    ):
        tree = ast.parse(path.read_text())
        constants = {
            node.targets[0].id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        for function in (each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)):
            for given in _given(function, is_remedy=path.stem == "remedies"):
                value = constants.get(given.id, given) if isinstance(given, ast.Name) else given
                if text := _beginning(value):
                    texts.add(f"{function.name}: {text}")
    return texts


def _given(function: ast.FunctionDef, *, is_remedy: bool) -> Iterator[ast.expr]:
    for node in ast.walk(function):
        if is_remedy and not function.name.startswith("_c") and not function.name.endswith("_of"):
            if isinstance(node, ast.Return) and node.value is not None:
                yield from _branches(node.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            position = {"Finding": 3, "Judgement": 2}.get(node.func.id)
            if position is not None and len(node.args) > position:
                yield node.args[position]
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "to_do":
            yield node.value


def _branches(value: ast.expr) -> Iterator[ast.expr]:
    if isinstance(value, ast.IfExp):
        yield from _branches(value.body)
        yield from _branches(value.orelse)
    elif isinstance(value, ast.Dict):
        yield from value.values
    else:
        yield value


def _beginning(value: ast.expr) -> str:
    """The first words of a text; a call is an advice of its own, by the name of what it calls."""
    if isinstance(value, ast.JoinedStr):
        parts = [str(each.value) if isinstance(each, ast.Constant) else "…" for each in value.values]
        return "".join(parts)[:40].strip()
    if isinstance(value, ast.Constant):
        return str(value.value)[:40].strip()
    return ast.unparse(value) if isinstance(value, ast.Call) and "_comes_back" in ast.unparse(value) else ""


def test_each_advice_is_tried() -> None:
    """Whoever adds one adds its test here."""
    assert set(TRIED) == advised()

    for file, test in TRIED.values():
        [path] = (ROOT / "tests").rglob(file)
        assert f"def {test}(" in path.read_text(), f"{file} has no {test}"
