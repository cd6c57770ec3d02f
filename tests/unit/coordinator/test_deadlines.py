"""Deadlines, from a batch's acceptance to its end, over a real coordinator in virtual time."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.coordinator.test_eta import pass_s

from muniflow.errors import Unavailable
from muniflow.forecast.sizes import Picture
from muniflow.forecast.stage import Stage
from muniflow.model.api import BatchStatus
from muniflow.model.batch import read_batch
from muniflow.model.deadline import show_time
from muniflow.model.messages import Notice
from muniflow.model.operation import Size, installed_operations
from muniflow.model.topology import BATCHES
from muniflow.testing.inline import InlineRepeater
from muniflow.transport.types import OutgoingMessage
from muniflow_coordinator.api.routes import Answers
from muniflow_coordinator.api.scaling import ScalingAnswers
from muniflow_coordinator.api.stages import Stages
from muniflow_coordinator.coordinator import Coordinator
from muniflow_coordinator.foresight.deadlines import SIZES_WAIT_S
from muniflow_coordinator.foresight.forecaster import TURN_S
from muniflow_coordinator.runs.spec import read_spec, write_spec
from muniflow_coordinator.state.types import NewBatch

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import CoordinatorHarness


RESIZE = Stage(name="resize", operations=("resize",), max_replicas=4, start_s=5)
PHOTO = Picture(Size(4000, 3000), "jpg")


@pytest.fixture
def here(tmp_path: Path, virtual_harness: "Callable[[Path], CoordinatorHarness]") -> "Iterator[CoordinatorHarness]":
    with closing(virtual_harness(tmp_path / "one")) as made:
        made.pictures(3)
        yield made


def in_s(harness: "CoordinatorHarness", seconds: float) -> str:
    return show_time(harness.clock.now_s() + seconds)


def next_notice(harness: "CoordinatorHarness", after: int) -> Notice:
    harness.until(lambda: len(harness.notices) > after)
    return harness.notices[after]


def test_a_deadline_in_the_past_is_refused_by_its_place(here: "CoordinatorHarness") -> None:
    here.start()
    here.submit(deadline=in_s(here, -1))
    notice = here.finish()
    assert (notice.state, [fault["place"] for fault in notice.faults]) == ("rejected", ["deadline"])
    assert here.state is not None
    assert here.state.find("b") is None
    here.submit(deadline=in_s(here, 3600))
    assert here.finish().state == "done"


@pytest.mark.parametrize("crash", [False, True], ids=["sent again", "sent again after a crash"])
def test_a_known_batch_is_recognised_although_its_deadline_has_passed(here: "CoordinatorHarness", crash: bool) -> None:
    here.hold = True
    here.start()
    deadline = in_s(here, 60)
    here.submit(deadline=deadline, priority="high")
    assert next_notice(here, 0).state == "running"
    pass_s(here, 61)
    if crash:
        here.crash()
        here.start()
    here.submit(deadline=deadline, priority="high")
    assert next_notice(here, 1).state == "running"
    # A client that works its deadline out anew, for each attempt, means the same batch, too.
    here.submit(deadline=in_s(here, 60))
    assert next_notice(here, 2).state == "running"
    here.let_go()
    assert here.finish().done == 3
    here.submit(deadline=deadline)
    assert next_notice(here, 4).state == "done"


def test_a_batch_that_waited_for_a_coordinator_is_judged_by_when_it_was_sent(here: "CoordinatorHarness") -> None:
    here.start()
    here.until(lambda: here.broker.queue(BATCHES) is not None)
    here.crash()
    deadline = in_s(here, 30)
    for name, sent_at in (("said", int(here.clock.now_s())), ("unsaid", None)):
        document = {"batch_id": name, "source": "in", "operations": [["copy", 1]], "deadline": deadline}
        here.user.publish([OutgoingMessage(BATCHES, json.dumps(document).encode(), sent_at=sent_at)], lambda _: None)
    pass_s(here, 60)
    here.start()
    assert here.finish("said").state == "done", "it was accepted by the broker in time"
    assert here.finish("unsaid").state == "rejected"


def test_an_intake_that_was_cut_off_goes_on_after_its_deadline(here: "CoordinatorHarness") -> None:
    here.start()
    here.until(lambda: here.broker.queue(BATCHES) is not None)
    assert here.state is not None
    fields = {"batch_id": "b", "source": "in", "operations": [["copy", 1]], "deadline": in_s(here, 30)}
    document = json.dumps(fields).encode()
    batch = read_batch(document, here.operations)
    now_s = here.clock.now_s()
    here.state.insert_batch(NewBatch("b", batch.fingerprint, write_spec(batch), "", 1, "b", now_s, document))
    here.crash()
    pass_s(here, 60)
    here.start()
    assert here.finish().done == 3


def test_deadline_and_priority_are_kept_over_a_restart(here: "CoordinatorHarness") -> None:
    here.hold = True
    here.start()
    deadline_at = int(here.clock.now_s()) + 600
    here.submit(deadline=show_time(deadline_at), priority="low")
    assert next_notice(here, 0).state == "running"
    here.crash()
    coordinator = here.start()
    here.until(lambda: coordinator.view.runs.get("b"))
    run = coordinator.view.runs.get("b")
    assert run is not None
    assert (run.batch.deadline_at, run.batch.priority) == (deadline_at, "low")


def test_a_batch_that_the_build_before_accepted_has_no_deadline() -> None:
    batch = read_batch(b'{"batch_id": "b", "source": "in", "operations": [["resize", "50%"]]}', installed_operations())
    spec = json.loads(write_spec(batch))
    del spec["deadline_at"], spec["priority"]
    assert read_spec(json.dumps(spec)) == batch


@pytest.mark.usefixtures("unlisted")
def test_a_deadline_says_how_many_replicas_are_wanted(
    tmp_path: Path, virtual_harness: "Callable[[Path], CoordinatorHarness]"
) -> None:
    stage = Stage(name="resize", operations=("resize",), max_replicas=500, horizon_s=900, start_s=5)
    images = [f"{number:05}.jpg" for number in range(30_000)]

    def wanted(name: str, deadline_s: float | None) -> int:
        with closing(virtual_harness(tmp_path / name)) as harness:
            harness.operations = installed_operations()
            harness.read_pictures = lambda _open, keys: [PHOTO] * len(keys)
            coordinator = harness.start(stages=(stage,))
            fields: dict[str, Any] = {} if deadline_s is None else {"deadline": in_s(harness, deadline_s)}
            harness.submit(images=images, operations=[["resize", "50%"]], **fields)
            harness.until(lambda: coordinator.view.runs.get("b"))
            pass_s(harness, 2 * TURN_S)
            return coordinator.forecaster.outlook()["resize"].wanted

    horizon, same, sooner = wanted("horizon", None), wanted("same", 900), wanted("sooner", 300)
    assert horizon > 2
    assert abs(same - horizon) <= 1
    assert 2.5 < sooner / horizon < 3.6


def test_images_of_the_higher_priority_and_of_the_first_due_are_dispatched_first(here: "CoordinatorHarness") -> None:
    here.pictures(120)
    here.hold = True
    here.start(window_images=120, window_total=8)
    sent: dict[str, dict[str, Any]] = {
        "low": {"priority": "low"},
        "later": {},
        "due": {"deadline": in_s(here, 60)},
        "high": {"priority": "high"},
    }
    here.submit(batch_id="first")
    here.until(lambda: len(here.held) == 8)
    for name, fields in sent.items():
        here.submit(batch_id=name, **fields)
    here.until(lambda: len(here.notices) == 5)
    here.let_go()
    here.until(lambda: len({notice.batch for notice in here.notices if notice.state == "done"}) == 5)
    order = [task.batch for task in here.tasks][8:]
    ends = sorted({*sent, "first"}, key=lambda name: len(order) - order[::-1].index(name))
    assert ends == ["high", "due", "first", "later", "low"]
    while_high = order[: order.index("high") + 100]
    assert while_high.count("low") in {4, 5, 6}


def photographs(harness: "CoordinatorHarness", deadline_s: float, stage: Stage = RESIZE) -> Coordinator:
    """A batch of 3,000 photographs, accepted by a coordinator that works already: a few minutes for four replicas."""
    harness.operations = installed_operations()
    harness.read_pictures = lambda _open, keys: [PHOTO] * len(keys)
    coordinator = harness.start(stages=(stage,))
    harness.consumers.update(dict.fromkeys(harness.operations, 1))
    pass_s(harness, 2 * TURN_S)
    names = [f"{number:05}.jpg" for number in range(3000)]
    harness.submit(images=names, operations=[["resize", "50%"]], deadline=in_s(harness, deadline_s), priority="high")
    return coordinator


def status_of(harness: "CoordinatorHarness", coordinator: Coordinator | None) -> BatchStatus:
    assert harness.state
    stages = Stages((), harness.rates, lambda _queues: {}, InlineRepeater(harness.loop))
    scaling = ScalingAnswers((), lambda: None)
    view = None if coordinator is None else coordinator.view
    found = Answers(
        harness.state, lambda: view, harness.operations, stages, scaling, output=harness.stores.output
    ).batch("b")
    assert found is not None
    return found


@pytest.mark.usefixtures("unlisted")
@pytest.mark.parametrize(("deadline_s", "feasible"), [(20, False), (3600, True)])
def test_a_deadline_is_judged_at_once_in_notice_and_status(
    here: "CoordinatorHarness", deadline_s: float, feasible: bool
) -> None:
    coordinator = photographs(here, deadline_s)
    sent_s = here.clock.now_s()
    notice = next_notice(here, 0)
    assert here.clock.now_s() - sent_s < 1
    assert (notice.state, notice.feasible) == ("running", feasible)
    assert notice.earliest_at is not None
    assert notice.deadline_at is not None
    assert (notice.earliest_at <= notice.deadline_at) == feasible
    # 3,000 photographs of about 0.08 s with four replicas, of which three start first
    assert 45 < notice.earliest_at - sent_s < 110
    status = status_of(here, coordinator)
    assert (status.priority, status.deadline_at, status.feasible) == ("high", notice.deadline_at, feasible)
    assert status.earliest_at == notice.earliest_at
    standby = status_of(here, None)
    assert (standby.deadline_at, standby.feasible, standby.earliest_at) == (notice.deadline_at, None, None)


def test_a_batch_that_ends_before_it_is_judged_is_answered_first(here: "CoordinatorHarness") -> None:
    here.start()
    pass_s(here, 2 * TURN_S)
    here.submit(deadline=in_s(here, 60))
    here.finish()
    assert [notice.state in {"running", "finishing"} for notice in here.notices] == [True, False]
    assert here.notices[0].message_id
    here.submit(deadline=in_s(here, 90))
    assert next_notice(here, 2).deadline_at == here.notices[0].deadline_at, "that of the batch that is known"


def test_a_batch_whose_work_is_not_known_is_not_judged(here: "CoordinatorHarness") -> None:
    coordinator = photographs(here, 20, Stage(name="blur", operations=("blur",)))
    notice = next_notice(here, 0)
    assert notice.deadline_at is not None
    assert (notice.feasible, notice.earliest_at) == (None, None), "nobody runs `resize`"
    pass_s(here, 2 * TURN_S)
    assert status_of(here, coordinator).feasible is None


@pytest.mark.usefixtures("unlisted")
def test_a_store_that_is_away_delays_the_answer_only_a_little(here: "CoordinatorHarness") -> None:
    def away(_open: object, _keys: Sequence[str]) -> list[Picture | None]:
        raise Unavailable("source store", "away")

    photographs(here, 3600)
    next_notice(here, 0)
    here.read_pictures = away
    here.crash()
    here.start(stages=(RESIZE,))
    pass_s(here, 2 * TURN_S)
    sent_s = here.clock.now_s()
    here.submit(batch_id="c", images=["0001.jpg"], operations=[["resize", "50%"]], deadline=in_s(here, 60))
    notice = next_notice(here, 1)
    assert here.clock.now_s() - sent_s < SIZES_WAIT_S + 1
    assert (notice.batch, notice.state, notice.feasible) == ("c", "running", None)
