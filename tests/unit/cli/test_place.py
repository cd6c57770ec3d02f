"""Where a stack keeps its passwords, keys and ledger: in no store, and found again from the project's folder."""

import os

import pytest

from muniflow.errors import Invalid, Unavailable
from muniflow.runtime import state_folder
from muniflow.runtime.settings import StoreSettings
from muniflow.store.places import Location
from muniflow_cli.commands import exits
from muniflow_cli.commands.target import find_target
from muniflow_cli.main import run
from muniflow_cli.stack import place
from muniflow_cli.stack.processes import ProcessIdentity, identify
from muniflow_cli.stack.state import StackState, write_state


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The current folder is a project's; the user's state is beside it."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("MUNIFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return folder


def at(path):
    return Location("file", tuple(path.strip("/").split("/")))


def running(supervisor):
    return StackState(
        supervisor=supervisor, amqp_url="amqp://earlier", coordinator_url="http://127.0.0.1:1",
        database_url="sqlite:///x", stores=StoreSettings(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("root", "fault"),
    [
        ("/p", "MUNIFLOW_STATE_DIR"),
        ("/p/.muniflow", "MUNIFLOW_STATE_DIR"),
        ("/", "MUNIFLOW_STATE_DIR"),
        ("/p/.muniflow/broker", "MUNIFLOW_SOURCE_URL"),
        ("/p/.muniflow/logs/old", "MUNIFLOW_SOURCE_URL"),
        ("/p/.muniflow/output", None),
        ("/p/.muniflow-2", None),
        ("/q", None),
    ],
)
def test_state_and_stores_are_apart(root, fault):
    where = Location("file", ()) if root == "/" else at(root)
    faults = place.state_faults(at("/p/.muniflow"), {"source_url": where})
    assert [found.place for found in faults] == ([] if fault is None else [fault])
    assert place.state_faults(at("/p"), {"source_url": Location("s3://p", ())}) == ()


def test_the_state_is_among_the_users_own_and_of_one_project_only(project, tmp_path):
    folder = state_folder.state_folder(os.environ)
    assert folder.parent == tmp_path / "state/muniflow"
    assert folder.name.startswith("project-")
    assert folder == state_folder.state_folder(os.environ, tmp_path / "x/../project")
    assert folder != state_folder.state_folder(os.environ, tmp_path / "other/project")
    assert state_folder.state_folder({"HOME": "/home/me"}, project).parents[1].as_posix() == "/home/me/.local/state"
    assert state_folder.state_folder({"HOME": "/h", "XDG_STATE_HOME": "relative"}, project).is_relative_to(
        "/h/.local/state"
    )
    assert state_folder.state_folder({"MUNIFLOW_STATE_DIR": "/var/x"}, project).as_posix() == "/var/x"


@pytest.mark.parametrize(
    "variables",
    [
        {"MUNIFLOW_STATE_DIR": ".muniflow"},
        {"MUNIFLOW_STATE_DIR": "../link/state"},
        {"XDG_STATE_HOME": "{project}/state"},
        {"MUNIFLOW_SOURCE_URL": "file://.."},
    ],
)
def test_up_does_not_start_with_its_state_in_a_store(project, tmp_path, monkeypatch, capsys, variables):
    (tmp_path / "link").symlink_to(project)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(project=project))

    assert run(["up"]) == exits.USAGE

    said = capsys.readouterr().err
    assert "MUNIFLOW_STATE_DIR: " in said
    assert "MUNIFLOW_SOURCE_URL" in said
    assert list(project.iterdir()) == []


def test_up_does_not_start_with_intermediates_among_sources(project, monkeypatch, capsys):
    monkeypatch.setenv("MUNIFLOW_WORK_URL", str(project / "work"))
    assert run(["up"]) == exits.USAGE
    assert "MUNIFLOW_WORK_URL: the work store is, holds or lies in" in capsys.readouterr().err


def test_a_stack_that_an_earlier_muniflow_started_is_found(project, capsys):
    (project / ".muniflow").mkdir()
    write_state(project / ".muniflow", running(identify(os.getpid())))

    assert find_target().broker.amqp_url == "amqp://earlier"
    assert run(["up"]) == exits.USAGE
    assert "a stack runs here already" in capsys.readouterr().err

    write_state(project / ".muniflow", running(ProcessIdentity(pid=os.getpid(), started="1")))
    assert find_target().found == "defaults"


def test_what_an_earlier_muniflow_kept_goes_with_it_once(project):
    kept = {"broker/node.json": "1", "ledger.db": "2", "ledger.db-wal": "3", "api-keys": "4", "logs/a.log": "5"}
    stays = {"output/b/a-0.jpg": "6", "uploads/x/a.jpg": "7", "work/b/0.raw": "8"}
    for name, text in (kept | stays).items():
        (project / ".muniflow" / name).parent.mkdir(parents=True, exist_ok=True)
        (project / ".muniflow" / name).write_text(text)
    folder = state_folder.state_folder(os.environ)

    place.prepare(folder, os.environ)
    (project / ".muniflow/api-keys").write_text("not these")
    place.prepare(folder, os.environ)

    def texts(root):
        return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}

    assert texts(folder) == kept
    assert (project / ".muniflow/broker").readlink() == folder / "broker", "RabbitMQ keeps full paths"
    (project / ".muniflow/broker").unlink()
    assert texts(project / ".muniflow") == stays | {"api-keys": "not these"}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_gateway_is_not_open_because_its_keys_were_left_behind(project):
    (project / ".muniflow").mkdir()
    (project / ".muniflow/api-keys").write_text("")
    with pytest.raises(Invalid, match=r"MUNIFLOW_API_KEYS_FILE: the keys of an earlier muniflow are in \.muniflow"):
        state_folder.keys_file(os.environ)
    place.prepare(state_folder.state_folder(os.environ), os.environ)
    assert state_folder.keys_file(os.environ).exists()


def test_a_folder_that_cannot_be_made_is_a_sentence(project):
    (project / "file").write_text("")
    with pytest.raises(Unavailable, match="MUNIFLOW_STATE_DIR"):
        place.prepare(project / "file/state", os.environ)


def test_only_state_is_removed(project):
    for name in ("broker/node.json", "stack.json", "output/a.jpg"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("")
    place.forget(project)
    assert [path.name for path in project.iterdir()] == ["output"]
