"""The coordinator learns how long tasks take from what workers report, and keeps it over restarts."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import run_until
from tests.unit.coordinator.conftest import CoordinatorHarness, all_done

from muniflow.errors import Invalid, Unavailable
from muniflow.forecast.defaults import Costs
from muniflow.forecast.profile import Profile, read_profile
from muniflow.forecast.service_time import EARLIER_LENGTH, HALF_LIFE_S, HALF_LIFE_TASKS, ServiceTime, Sums
from muniflow.forecast.task_class import TaskClass
from muniflow.model.batch import Batch
from muniflow.model.messages import Encoding, Events, RouteStep, Tally, Task, TaskSums
from muniflow.testing.virtual_time import VirtualClock, VirtualLoop
from muniflow_coordinator.foresight.service_times import (
    MAX_CLASSES,
    SAVE_S,
    ServiceTimes,
    class_of,
    given_profile,
    kept_profile,
)
from muniflow_coordinator.retry_queue import RetryQueue
from muniflow_coordinator.state.learned_types import ServiceTimeRow

ROUTE = (RouteStep(op="copy", params={"of": 1}), RouteStep(op="paste", params={"of": 1}))
BATCH = Batch(
    batch_id="b", municipality="", source="in", images=None, manifest=None, route=ROUTE, weight=1, fingerprint="f",
    encoding=Encoding(format="jpg"), destination="b", decode="exact",
)  # fmt: skip
TRUE_TIME = ServiceTime(0.002, 0.010, 0.005)
SIZES_MP = [0.25, 1.0, 12.0, 48.0]


def task_sums(tasks: int = 1, seconds: float | None = None, **fields: Any) -> TaskSums:
    """Tasks of several sizes that take `TRUE_TIME`, or `seconds` each."""
    sums = Sums()
    for number in range(tasks):
        mp_in = SIZES_MP[number % len(SIZES_MP)]
        mp_out = mp_in / (1 + number % 3)
        sums += Sums.of(mp_in, mp_out, TRUE_TIME.seconds(mp_in, mp_out) if seconds is None else seconds)
    numbers = tuple(sums.as_list())
    known, outputs = numbers[:EARLIER_LENGTH], numbers[EARLIER_LENGTH:]
    values = {"steps": 1, "reads": "jpg", "device": "cpu", "sums": known, "outputs": outputs}
    return TaskSums.model_validate(values | fields)


def tally(*reported: TaskSums, batch: str = "b", step: int = 0) -> Tally:
    return Tally(batch=batch, step=step, tasks=reported)


def reports(task: Task) -> list[Events]:
    """What a worker answers that also reports its task."""
    (events,) = all_done(task)
    return [events.model_copy(update={"tallies": (tally(task_sums(), batch=task.batch),)})]


class MemoryRows:
    """The part of the state that service times need; it fails while `away`."""

    def __init__(self) -> None:
        self.rows: dict[str, ServiceTimeRow] = {}
        self.writes = 0
        self.away = False

    def keep_service_times(self, observed: list[ServiceTimeRow], _most: int) -> None:
        self._fail_if_away()
        self.writes += 1
        self.rows |= {row.key: row for row in observed}

    def service_times(self) -> list[ServiceTimeRow]:
        self._fail_if_away()
        return list(self.rows.values())

    def _fail_if_away(self) -> None:
        if self.away:
            raise Unavailable("state database", "a test asked for it")


class Term:
    """Service times in virtual time."""

    def __init__(self, rows: MemoryRows | None = None, known: Profile | None = None) -> None:
        self.clock = VirtualClock()
        self.loop = VirtualLoop(self.clock)
        self.rows = rows or MemoryRows()
        state: Any = self.rows
        self.retry_queue = RetryQueue(self.loop, self.clock, lambda _reason: None)
        self.times = ServiceTimes(self.loop, self.clock, state, self.retry_queue, known or Profile())

    def add(self, *reported: TaskSums, step: int = 0) -> None:
        self.times.add(BATCH, tally(*reported, step=step))

    def wait(self, seconds: float) -> None:
        end_s = self.clock.monotonic_s() + seconds
        self.loop.call_later(seconds, lambda: None)
        run_until(self.loop, lambda: self.clock.monotonic_s() >= end_s, seconds + 1, lambda: "time")

    def only(self) -> Sums:
        (sums,) = self.times.profile().observed.values()
        return sums


@pytest.mark.parametrize("device", ["cpu", "opencl"])
def test_what_was_reported_is_what_is_expected(device: str) -> None:
    term = Term()
    for _ in range(20):
        term.add(task_sums(16, device=device))
    named = class_of(BATCH, 0, 1, "jpg", device)
    assert named is not None
    assert named.task_class == TaskClass.of(ROUTE[:1], "jpg", "raw", device, "exact")
    found = term.times.profile().service_time(named.task_class)
    for mp in SIZES_MP:
        assert found.seconds(mp, mp / 2) == pytest.approx(TRUE_TIME.seconds(mp, mp / 2), rel=0.05)
    assert {key: sums.n for key, sums in term.times.own("b").items()} == {named.key: 320}


def test_what_is_observed_here_replaces_what_the_operator_gave() -> None:
    seen, unseen = (TaskClass.of(ROUTE[:1], reads, "raw", "cpu", "exact") for reads in ("jpg", "png"))
    elsewhere = {task_class: Sums.of(1.0, 0.5, 9.0).decayed(50) for task_class in (seen, unseen)}
    known = Profile(Costs(message_s=0.5), elsewhere)

    term = Term(known=known)
    assert term.times.profile() == known
    for _ in range(20):
        term.add(task_sums(16))

    profile = term.times.profile()
    assert profile.costs == known.costs
    assert profile.observed[unseen] == elsewhere[unseen]
    assert profile.service_time(seen).seconds(1.0, 0.5) == pytest.approx(TRUE_TIME.seconds(1.0, 0.5), rel=0.05)


def test_a_wrong_profile_is_refused_at_start_by_its_places(tmp_path: Path) -> None:
    assert given_profile(None) == Profile()
    with pytest.raises(Invalid, match=r"MUNIFLOW_PROFILE_FILE: .*absent\.json: No such file"):
        given_profile(str(tmp_path / "absent.json"))
    wrong = tmp_path / "profile.json"
    wrong.write_text('{"message_s": -1, "decode_s_per_mp": {"jpg": "fast"}}')
    with pytest.raises(Invalid) as refused:
        given_profile(str(wrong))
    below = f"MUNIFLOW_PROFILE_FILE: {wrong}: "
    assert sorted(fault.place for fault in refused.value.faults) == [below + "decode_s_per_mp.jpg", below + "message_s"]


@pytest.mark.parametrize(("fields", "step"), [
    ({"reads": "jxl"}, 0),
    ({"steps": 3}, 0),
    ({"steps": 0}, 0),
    ({}, 2),
    ({}, -1),
    ({"device": "a\0b"}, 0),
    ({"device": ""}, 0),
    ({"sums": (1.0,) * 14}, 0),
    ({"outputs": (1.0,) * 5}, 0),
    ({"outputs": (-1.0,) * 6}, 0),
    ({"sums": (0.0,) * 13}, 0),
    ({"sums": (-1.0,) * 13}, 0),
    ({"sums": (float("nan"),) * 13}, 0),
])  # fmt: skip
def test_what_this_build_does_not_understand_is_left_out(fields: dict[str, Any], step: int) -> None:
    term = Term()
    term.add(TaskSums.model_construct(**(dict(task_sums()) | fields)), step=step)
    term.times.save()
    assert (dict(term.times.profile().observed), dict(term.times.own("b")), term.rows.writes) == ({}, {}, 0)


def test_a_chain_to_the_end_of_the_route_writes_the_output_format() -> None:
    term = Term()
    term.add(task_sums(steps=2, reads="tiff"))
    (task_class,) = term.times.profile().observed
    assert task_class == TaskClass.of(ROUTE, "tiff", "jpg", "cpu", "exact")


def test_a_worker_of_an_earlier_build_changes_nothing() -> None:
    term = Term()
    term.times.add(BATCH, Tally(batch="b", step=0, done=5, pixels=10, compute_s=1.0))
    assert term.times.profile() == Profile()
    assert term.times.own("b") == {}


def test_workers_of_both_builds_are_learned_from() -> None:
    """An earlier one does not tell how many images its tasks made: each counts as one."""
    term = Term()
    one = Sums.of(1.0, 1.0, 0.01, outputs=4)
    numbers = one.as_list()
    term.add(task_sums(sums=tuple(numbers[:EARLIER_LENGTH]), outputs=None))
    assert (term.only().n, term.only().outputs) == (1, 1)
    term.add(task_sums(sums=tuple(numbers[:EARLIER_LENGTH]), outputs=tuple(numbers[EARLIER_LENGTH:])))
    assert (term.only().n, term.only().outputs) == (2, 5)


def test_rows_of_an_earlier_build_are_read() -> None:
    term = Term()
    term.add(task_sums(8))
    term.times.save()
    (row,) = term.rows.service_times()
    earlier = row._replace(sums=json.dumps(json.loads(row.sums)[:EARLIER_LENGTH]))
    (found,) = kept_profile([earlier]).observed.values()
    assert (found.n, found.outputs) == pytest.approx((8, 8))


def test_old_observations_fade_however_often_they_are_written() -> None:
    term = Term()
    term.add(task_sums(1000, seconds=1.0))
    groups = 200
    for _ in range(groups):
        term.wait(4 * HALF_LIFE_S / groups)
        term.add(task_sums(4 * HALF_LIFE_TASKS // groups, seconds=3.0))
    faded = term.only().n - 1000 / 16
    assert term.only().seconds == pytest.approx(1000 / 16 + 3 * faded, rel=0.01)


def test_one_write_in_ten_seconds_and_none_while_nothing_happens() -> None:
    term = Term()
    for _ in range(100):
        term.add(task_sums())
        term.wait(SAVE_S / 20)
    assert term.rows.writes <= 5
    term.wait(2 * SAVE_S)
    assert term.rows.writes == 5
    (kept,) = kept_profile(term.rows.service_times()).observed.values()
    assert kept.as_list() == pytest.approx(term.only().as_list())


def test_a_database_that_is_away_stops_nothing_and_gets_all_of_it_later() -> None:
    first = Term()
    first.add(task_sums(8))
    first.times.save()
    first.rows.away = True
    later = Term(first.rows)
    later.times.load()
    later.add(task_sums(8))
    later.wait(2.5 * SAVE_S)
    first.rows.away = False
    later.wait(SAVE_S)
    (sums,) = kept_profile(first.rows.service_times()).observed.values()
    assert sums.n == pytest.approx(16, rel=0.01)


def test_rows_of_a_later_build_are_left_out() -> None:
    term = Term()
    term.add(task_sums())
    term.times.save()
    (row,) = term.rows.service_times()
    later = [
        row._replace(sums="[1.0]"), row._replace(sums="{}"), row._replace(sums="no"),
        row._replace(task_class=row.task_class.replace('"jpg"', '"jxl"')), row._replace(task_class="[]"),
    ]  # fmt: skip
    assert kept_profile(later) == Profile()
    assert len(kept_profile([*later, row]).observed) == 1


def test_the_classes_that_were_not_seen_for_long_give_room() -> None:
    term = Term()
    for number in range(MAX_CLASSES + 3):
        step = RouteStep(op="copy", params={"of": number + 1})
        batch = replace(BATCH, batch_id=f"b{number}", route=(step,))
        term.times.add(batch, tally(task_sums()))
        if number == 0:
            term.wait(1.0)
    assert len(term.times.profile().observed) == MAX_CLASSES


def test_a_restart_finds_what_was_learned_and_an_ended_batch_is_forgotten(harness: CoordinatorHarness) -> None:
    harness.answer = reports
    harness.pictures(12)
    coordinator = harness.start()
    harness.submit()
    harness.finish()
    learned = coordinator.view.service_times.profile()
    ((task_class, sums),) = learned.observed.items()
    assert (sums.n, task_class.reads, task_class.writes) == (12, "jpg", "jpg")
    assert coordinator.view.service_times.own("b") == {}
    stopped: list[bool] = []
    coordinator.stop(lambda: stopped.append(True))
    harness.until(lambda: stopped)
    harness.crash()
    again = harness.start()
    harness.until(lambda: again.transport.connected)
    found = again.view.service_times.profile()
    assert found.observed.keys() == {task_class}
    assert found.service_time(task_class) == pytest.approx(learned.service_time(task_class), rel=1e-3)
    assert read_profile(found.to_json()) == found
