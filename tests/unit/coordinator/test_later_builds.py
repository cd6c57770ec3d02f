"""What a later build has left behind, after a way back: it is refused or waits, and is never misread."""

import json
import logging
import sqlite3
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import pytest
from tests.unit.coordinator.test_parts import BATCH

from muniflow.model.messages import Decode, Settled, Task
from muniflow.model.topology import LOST
from muniflow.model.wire import Since
from muniflow.transport.types import Delivery
from muniflow_coordinator.handlers.decode import read_lost
from muniflow_coordinator.runs.spec import read_spec, spec_problem, task_writer, write_spec

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import CoordinatorHarness

REJECTED = {"x-first-death-reason": "rejected"}
EARLIER = "a worker of an earlier build refused this task (message version 2): update the workers"


class LaterTask(Task):
    """A task of a build in which `fast` decoding is new."""

    understands: ClassVar[int] = 3
    decode: Annotated[Decode, Since(3)] = "exact"


def lost(**fields: Any) -> tuple[Settled, ...] | None:
    body = {"batch": "b", "image": 4, "run": 1, "step": 2} | fields
    return read_lost(Delivery(LOST, json.dumps(body).encode(), 1, 1, headers=REJECTED))


def test_a_refused_task_of_a_later_build_is_settled_whatever_else_is_in_it() -> None:
    (settled,) = lost(v=2, encoding={"format": "avif"}, colour="lab") or ()
    assert (settled.batch, settled.image, settled.run, settled.step, settled.lineage) == ("b", 4, 1, 2, ())
    assert (settled.reason or "").startswith(EARLIER)
    parts = lost(v=2, tiles=[{"lineage": [[place, 4]], "pixels": "elsewhere"} for place in (1, 2)]) or ()
    assert [part.lineage for part in parts] == [((1, 4),), ((2, 4),)]
    assert [part.reason for part in lost(v=1, route="torn") or ()] == ["no worker could read this task"]


@pytest.mark.parametrize("fields", [{"image": "many"}, {"tiles": [{"lineage": [[0, 1]]}]}, {"batch": None}])
def test_what_cannot_be_told_to_be_a_task_is_none(fields: dict[str, Any]) -> None:
    assert lost(v=2, **fields) is None


def test_a_batch_and_its_tasks_have_one_version(monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(write_spec(BATCH))["v"] == 1
    assert json.loads(task_writer(BATCH)(0, "a", "", 0, 0.0))["v"] == 1
    for module in ("muniflow.store.listing", "muniflow_coordinator.runs.spec"):
        monkeypatch.setattr(f"{module}.Task", LaterTask)
    spec = write_spec(BATCH)
    assert json.loads(task_writer(BATCH)(0, "a", "", 0, 0.0))["v"] == 3
    assert json.loads(spec)["v"] == 3
    assert spec_problem(spec) is None
    monkeypatch.undo()
    assert spec_problem(spec) == "message version 3; this build understands 2: update it"
    assert read_spec(spec).route == BATCH.route, "it can still be shown"


def test_a_batch_that_was_kept_before_there_were_versions_is_run() -> None:
    spec = json.loads(write_spec(BATCH))
    del spec["v"]
    assert spec_problem(json.dumps(spec)) is None


def _set_version(harness: "CoordinatorHarness", version: int) -> None:
    with sqlite3.connect(harness.root / "state.sqlite") as ledger:
        ledger.execute("update batches set spec = json_set(spec, '$.v', ?, '$.colour', 'lab')", (version,))
    ledger.close()


def test_a_batch_of_a_later_build_waits_for_it(harness: "CoordinatorHarness", caplog: pytest.LogCaptureFixture) -> None:
    harness.start_with_held(6, 3, window_images=3)
    harness.crash()
    _set_version(harness, 3)
    harness.held.clear()
    with caplog.at_level(logging.ERROR):
        harness.start(window_images=3)
    assert "batch waits for a later build: message version 3; this build understands 2" in caplog.text
    harness.command("reopen")
    harness.submit(batch_id="other", source="in", destination="elsewhere")
    harness.until(lambda: len(harness.held) >= 3)
    assert {Task.from_bytes(delivery.body).batch for delivery in harness.held} == {"other"}, "others go on"
    harness.crash()
    _set_version(harness, 1)
    harness.start(window_images=3)
    harness.let_go()
    assert {(notice.batch, notice.state) for notice in (harness.finish("b"), harness.finish("other"))} == {
        ("b", "done"),
        ("other", "done"),
    }
