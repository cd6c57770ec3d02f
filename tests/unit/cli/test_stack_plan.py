from dataclasses import replace
from pathlib import Path

import pytest

from muniflow.errors import Invalid
from muniflow.forecast.defaults import Costs
from muniflow.forecast.profile import Profile
from muniflow.forecast.stage import read_stages
from muniflow.planning.files import read_profile_file
from muniflow.runtime.settings import GatewayAddress, StoreSettings, read_env
from muniflow.worker.settings import WorkerSettings
from muniflow_cli.stack.local import StackPlan
from muniflow_cli.stack.plan import (
    WorkerGroup,
    coordinator_plan,
    gateway_plan,
    read_chain,
    read_workers,
    replica_count,
    stages_of,
    worker_groups,
    worker_plans,
)
from muniflow_cli.stack.supervisor import restart_delay_s
from muniflow_coordinator.settings import CoordinatorSettings

OPERATIONS = ("blur", "resize", "split")


@pytest.mark.parametrize(
    ("text", "workers"),
    [
        ("", {"blur": 1, "resize": 1, "split": 1}),
        ("resize=2,blur=4", {"blur": 4, "resize": 2, "split": 1}),
        (" resize=2 , ", {"blur": 1, "resize": 2, "split": 1}),
        ("split=0", {"blur": 1, "resize": 1, "split": 0}),
    ],
)
def test_workers(text, workers):
    assert read_workers(text, OPERATIONS) == workers


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sharpen=1", "unknown operation 'sharpen'; installed: blur, resize, split"),
        ("blur", "write blur=<0 to 64>"),
        ("blur=-1", "write blur=<0 to 64>"),
        ("blur=many", "write blur=<0 to 64>"),
        ("blur=65", "write blur=<0 to 64>"),
    ],
)
def test_wrong_workers(text, problem):
    with pytest.raises(Invalid, match=problem):
        read_workers(text, OPERATIONS)


def test_wrong_chains():
    with pytest.raises(Invalid, match="unknown operation 'sharpen'"):
        read_chain("resize,sharpen", OPERATIONS)
    with pytest.raises(Invalid, match="once"):
        read_chain("blur,blur", OPERATIONS)


def test_a_chain_replaces_the_workers_of_its_operations():
    workers = read_workers("resize=2", OPERATIONS)
    chain = read_chain("resize,split", OPERATIONS)

    groups = worker_groups(workers, [chain])

    assert groups == (WorkerGroup(("resize", "split"), 2), WorkerGroup(("blur",), 1))
    assert replica_count(groups) == 3


def test_the_coordinator_is_told_what_the_stack_runs():
    groups = (WorkerGroup(("resize", "split"), 2), WorkerGroup(("split", "blur"), 1), WorkerGroup(("blur",), 3))
    front, blur = stages_of(groups, read_env(WorkerSettings, {"MUNIFLOW_CHILDREN": "4"}))
    assert (front.name, front.operations, front.children) == ("resize-split", ("resize", "split"), 4)
    assert (front.min_replicas, front.max_replicas) == (2, 2)
    assert (blur.name, blur.operations) == ("blur", ("blur",)), "an operation that two carry counts once"
    assert read_stages(coordinator_plan(7001, 7002, (front, blur)).variables["MUNIFLOW_STAGES"]) == (front, blur)


def test_the_coordinator_is_given_what_was_calibrated_here(tmp_path):
    (tmp_path / "profile.json").write_text(Profile(Costs(message_s=0.5)).to_json())

    variables = coordinator_plan(7001, 7002, profile=tmp_path / "profile.json").variables

    assert "MUNIFLOW_PROFILE_FILE" not in coordinator_plan(7001, 7002).variables
    path = read_env(CoordinatorSettings, variables).profile_file
    assert path is not None
    assert read_profile_file(Path(path)).costs.message_s == 0.5


def test_one_process_for_each_replica_with_its_own_port():
    plans = worker_plans((WorkerGroup(("resize", "split"), 2), WorkerGroup(("blur",), 1)), [7001, 7002, 7003])

    assert [(plan.name, plan.port) for plan in plans] == [
        ("resize+split-1", 7001),
        ("resize+split-2", 7002),
        ("blur-1", 7003),
    ]
    assert plans[0].variables["MUNIFLOW_OPERATIONS"] == "resize,split"
    assert plans[2].command[-1] == "muniflow_blur"


@pytest.mark.parametrize("is_open", [False, True])
def test_the_gateway_is_open_only_when_asked(tmp_path, is_open):
    address = GatewayAddress(gateway_bind="127.0.0.1:7000", gateway_open=is_open)

    plan = gateway_plan(7001, address, tmp_path / "keys")

    assert read_env(GatewayAddress, plan.variables) == address
    assert plan.variables["MUNIFLOW_API_KEYS_FILE"] == str(tmp_path / "keys")


def test_a_key_file_that_is_named_is_the_one_that_counts(tmp_path):
    plan = StackPlan(tmp_path, (), StoreSettings())
    assert plan.keys == tmp_path / "api-keys"
    assert replace(plan, api_keys_file=tmp_path / "mine").keys == tmp_path / "mine"


@pytest.mark.parametrize(("quick_ends", "delay_s"), [(1, 0.5), (2, 1), (3, 2), (6, 16), (7, 30), (100, 30)])
def test_the_pause_before_a_restart_doubles(quick_ends, delay_s):
    assert restart_delay_s(quick_ends) == delay_s
