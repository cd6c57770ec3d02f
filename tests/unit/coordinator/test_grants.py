"""The coordinator signs what it dispatches with the key of today, and believes no task that comes back unsigned."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from muniflow.errors import Invalid
from muniflow.model.allowed import require_inside
from muniflow.model.messages import Task
from muniflow.model.topology import LOST, dead_queue, step_queue
from muniflow.runtime.key_files import drop_key, keys_in, rotate_keys
from muniflow.runtime.settings import GrantSettings
from muniflow.runtime.signing import read_verify_keys, verified
from muniflow.transport.types import OutgoingMessage
from muniflow_coordinator.__main__ import main
from muniflow_coordinator.runs.signer import Signer

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import CoordinatorHarness


@pytest.fixture
def signing(harness: "CoordinatorHarness", keys) -> Callable[..., "CoordinatorHarness"]:
    """A harness whose coordinators sign."""

    def make(unsigned="refuse", grants=None):
        settings = GrantSettings(signing_key_file=str(keys[0]), unsigned_tasks=unsigned)
        harness.signer = Signer.of(settings, grants or {}, harness.clock)
        return harness

    return make


def is_good(task: Task, keys) -> bool:
    if task.grant is None:
        return False
    require_inside(task, task.grant.sources)
    return verified(task, task.grant, read_verify_keys(keys[1].read_bytes())[task.grant.key])


def test_every_task_of_every_kind_of_batch_is_verified(signing, keys):
    harness = signing(grants={"default": ("in/", "more/")})
    harness.pictures(3)
    harness.start()
    documents: list[dict[str, Any]] = [
        {},
        {"output": {"format": "webp", "quality": 80}, "color": "keep", "decode": "fast"},
        {"source": "", "images": ["in/0000.jpg", "in/0001.jpg"], "checksums": True},
        {"destination": "é ö/ü", "bands": [3, 2, 1], "output": "png", "operations": [["copy", 3], ["paste", 2]]},
    ]
    for number, document in enumerate(documents):
        harness.submit(**{"batch_id": f"b{number}", **document})
        harness.finish(f"b{number}")

    assert {task.batch for task in harness.tasks} == {f"b{number}" for number in range(len(documents))}
    assert all(is_good(task, keys) for task in harness.tasks)
    assert {task.grant.sources for task in harness.tasks if task.batch == "b2"} == {("in/", "more/")}


def test_a_batch_that_was_accepted_with_images_beyond_its_grants_comes_to_an_end(signing, keys):
    """As from a gateway that has other grants: a worker would refuse what the coordinator has accepted."""
    harness = signing(grants={"default": ("in/more/",)})
    harness.pictures(2, "in/more")
    harness.pictures(2, "in/other")
    harness.start()
    harness.submit()
    harness.finish()

    assert {task.grant.sources for task in harness.tasks} == {("in/",)}
    assert all(is_good(task, keys) for task in harness.tasks)


def test_a_replay_is_signed_anew_also_where_an_earlier_build_accepted_the_batch(signing, keys, harness, answers):
    harness.pictures(4)
    harness.answer = lambda task: answers["failed" if task.run == 0 else "all_done"](task)
    harness.start()
    harness.submit()
    harness.finish()
    assert {task.grant for task in harness.tasks} == {None}, "a coordinator without keys, as one of the build before"
    harness.crash()
    harness.tasks.clear()

    signing()
    harness.start()
    old = keys_in(keys[0])[0].id
    new = rotate_keys(*keys)
    drop_key(keys[0], keys[1], old)
    harness.crash()
    signing()
    harness.start()
    harness.notices.clear()
    harness.command("reopen")
    assert harness.finish().done == 4
    assert [task.grant.key for task in harness.tasks] == [new] * 4
    assert all(is_good(task, keys) for task in harness.tasks)


@pytest.mark.parametrize("unsigned", ["refuse", "accept"])
def test_a_task_that_comes_back_settles_its_image_only_if_it_was_signed_here(signing, unsigned):
    harness = signing(unsigned)
    harness.start_with_held(3, 3)
    tasks = [Task.from_bytes(delivery.body) for delivery in harness.held]
    forged = [
        tasks[0].model_copy(update={"grant": None}).to_bytes(),
        tasks[1].model_copy(update={"destination": "elsewhere"}).to_bytes(),
        json.dumps({"batch": "b", "image": 0, "v": 99}).encode(),
    ]
    for body in (*forged, tasks[2].to_bytes()):
        harness.publish(LOST, body)
    harness.until(lambda: harness.coordinator.view.runs.get("b").counts.failed == (1 if unsigned == "refuse" else 2))
    harness.let_go()

    notice = harness.finish()
    assert (notice.done, notice.failed) == ((2, 1) if unsigned == "refuse" else (1, 2))


def test_a_forged_task_of_a_known_batch_is_kept_as_a_letter(signing):
    harness = signing()
    harness.start_with_held(1, 1)
    body = harness.held[0].body
    for code in ("task_foreign", "crashed"):
        headers = {"reason": code, "reason_code": code}
        harness.user.publish([OutgoingMessage(dead_queue(step_queue("copy")), body, "", headers)], lambda _: None)
    harness.until(lambda: harness.letters(step_queue("copy")))
    harness.let_go()

    assert harness.finish().done == 1
    assert harness.letters(step_queue("copy")) == [body]


def test_refusing_needs_keys_and_a_file_without_any_is_named(tmp_path):
    with pytest.raises(Invalid, match="MUNIFLOW_SIGNING_KEY_FILE"):
        Signer.of(GrantSettings(unsigned_tasks="refuse"), {})
    with pytest.raises(Invalid, match=r"MUNIFLOW_SIGNING_KEY_FILE.*No such file"):
        Signer.of(GrantSettings(signing_key_file=str(tmp_path / "none")), {})


def test_keys_are_made_rotated_and_dropped_by_commands(tmp_path, capsys, monkeypatch):
    signing, verify = str(tmp_path / "signing.pem"), str(tmp_path / "verify.pem")
    assert main(["keys", "rotate", "--signing", signing, "--verify", verify]) == 0
    monkeypatch.setenv("MUNIFLOW_SIGNING_KEY_FILE", signing)
    assert main(["keys", "rotate"]) == 2
    assert "--verify" in capsys.readouterr().err
    monkeypatch.setenv("MUNIFLOW_VERIFY_KEYS_FILE", verify)
    assert main(["keys", "rotate"]) == 0
    assert main(["keys", "list"]) == 0
    new, *rows = capsys.readouterr().out.splitlines()
    (first, second) = (row.split("\t") for row in rows)
    assert (first, second[1]) == ([new, "signs"], "verifies")
    assert main(["keys", "drop", second[0]]) == 0
    assert [key.id for key in keys_in(tmp_path / "signing.pem")] == [new]
    assert list(read_verify_keys((tmp_path / "verify.pem").read_bytes())) == [new]
