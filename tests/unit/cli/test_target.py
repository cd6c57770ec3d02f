import os

import pytest

from muniflow.errors import Invalid, Unavailable
from muniflow.runtime.settings import StoreSettings
from muniflow_cli.commands.target import find_target
from muniflow_cli.stack.processes import ProcessIdentity, identify
from muniflow_cli.stack.state import StackState, read_state, write_state


@pytest.fixture
def env(tmp_path):
    return {"MUNIFLOW_STATE_DIR": str(tmp_path)}


def state_of(supervisor):
    return StackState(
        supervisor=supervisor,
        amqp_url="amqp://stack",
        coordinator_url="http://127.0.0.1:1",
        database_url="sqlite:///ledger.db",
        stores=StoreSettings(output_url="file:///results"),
    )


def test_a_running_stack_is_found_without_settings(env, tmp_path):
    write_state(tmp_path, state_of(identify(os.getpid())))

    target = find_target(env)

    assert target.found == "stack.json"
    assert target.broker.amqp_url == "amqp://stack"
    assert target.require_coordinator() == "http://127.0.0.1:1"
    assert target.stores.output_url == "file:///results"


def test_a_variable_wins_over_the_stack(env, tmp_path):
    write_state(tmp_path, state_of(identify(os.getpid())))

    target = find_target({**env, "MUNIFLOW_AMQP_URL": "amqp://other"})

    assert target.found == "variables"
    assert target.require_broker().amqp_url == "amqp://other"


def test_a_stack_whose_process_id_belongs_to_another_process_now_is_not_running(env, tmp_path):
    write_state(tmp_path, state_of(ProcessIdentity(pid=os.getpid(), started="1")))

    target = find_target(env)

    assert target.stack is None
    with pytest.raises(Unavailable, match="muniflow up"):
        target.require_coordinator()


def test_no_guessing_of_a_broker(env):
    with pytest.raises(Unavailable, match="MUNIFLOW_AMQP_URL"):
        find_target(env).require_broker()


def test_a_wrong_variable_is_named(env):
    with pytest.raises(Invalid, match="MUNIFLOW_HEARTBEAT_S"):
        find_target({**env, "MUNIFLOW_HEARTBEAT_S": "often"})


def test_only_the_owner_can_read_the_password_in_the_state(tmp_path):
    write_state(tmp_path, state_of(identify(os.getpid())))

    assert (tmp_path / "stack.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "{", "{}", '{"v": 2}'])
def test_a_state_that_is_not_ours_tells_nothing(text, tmp_path):
    (tmp_path / "stack.json").write_text(text)

    assert read_state(tmp_path) is None
