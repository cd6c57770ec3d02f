"""How many replicas each stage wants."""

import itertools
import random
from collections import deque
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.forecast_help import stage

from muniflow.forecast.replicas import LATE_MARGIN, MARGIN, SIGNAL_S, Due, Running, Unknown, demand, due_at, steadied
from muniflow.forecast.stage import EFFICIENCY

NOW = 1_800_000_000.0


def due(left_s=900.0, name="b", accepted_s=-1e6, **work):
    """A batch that is due so many seconds from now; by default its replicas have long started."""
    return Due(name, NOW + accepted_s, NOW + left_s, work)


def fleet(running=None, asked=None, **stages):
    """Stages with these `max` values."""
    return [Running(stage(name, max=most, start_s=20), running, asked) for name, most in stages.items()]


def wanted(dues, stages, **fields):
    found = demand(NOW, dues, stages, **fields)
    return {name: one.replicas for name, one in found.wanted.items()}


def units(replicas, left_s=900.0):
    """Seconds of work that so many replicas do in that time, less the margin."""
    return replicas * EFFICIENCY * left_s / MARGIN


def test_nothing_to_do_is_the_minimum():
    assert wanted([], [Running(stage("blur")), Running(stage("resize", min=2))]) == {"blur": 0, "resize": 2}


def test_the_work_until_it_is_due_sets_the_number():
    assert wanted([due(blur=units(7), resize=1)], fleet(resize=20, blur=20)) == {"resize": 1, "blur": 7}


def test_a_stage_at_its_max_slows_the_others_to_its_pace():
    found = demand(NOW, [due(resize=units(100), blur=units(50))], fleet(resize=10, blur=100))
    assert {name: one.replicas for name, one in found.wanted.items()} == {"resize": 10, "blur": 6}
    (late,) = found.late
    assert late.batch == "b"
    assert late.earliest_at - NOW == pytest.approx(units(100) / (10 * EFFICIENCY), rel=0.05)


def test_a_batch_that_is_not_held_up_keeps_its_own_due_time():
    found = wanted([due(resize=units(100)), due(name="other", blur=units(5))], fleet(resize=10, blur=100))
    assert found == {"resize": 10, "blur": 5}


def test_the_largest_demand_of_all_due_times_counts():
    soon, later = due(100, blur=units(8, 100)), due(1_000, name="later", blur=units(3, 1_000))
    assert wanted([soon], fleet(blur=50)) == {"blur": 8}
    assert wanted([later], fleet(blur=50)) == {"blur": 3}
    assert wanted([later, soon], fleet(blur=50)) == {"blur": 8}
    assert wanted([later, due(500, blur=units(8, 500))], fleet(blur=50)) == {"blur": 8}


@pytest.mark.parametrize(("accepted_s", "running", "replicas"), [
    (0, 0, 10),  # 20 of 200 s are gone before any of them works
    (-19, 0, 10),  # and the answer is the same while they start
    (-21, 10, 9),  # they run
    (0, 9, 9),  # they ran before
])  # fmt: skip
def test_the_start_is_taken_off_only_while_replicas_start(accepted_s, running, replicas):
    left_s = 200 + accepted_s
    work = units(9, 200) if accepted_s > -20 else units(9, left_s)
    assert wanted([due(left_s, accepted_s=accepted_s, blur=work)], fleet(running, blur=50)) == {"blur": replicas}


def test_near_the_end_nothing_jumps_and_nothing_that_runs_is_taken_away():
    behind = [due(left_s, blur=units(4, left_s) * 1.2) for left_s in (40, 20, 5, 0.1)]
    assert [wanted([one], fleet(4, blur=50))["blur"] for one in behind] == [4] * 4
    on_pace = [due(left_s, blur=units(4, left_s) * 0.999) for left_s in (40, 20, 5, 0.1)]
    assert [wanted([one], fleet(4, blur=50))["blur"] for one in on_pace] == [4] * 4
    much = due(5, blur=units(10, SIGNAL_S + 20))
    assert wanted([much], fleet(2, blur=50)) == {"blur": ceil(10 * LATE_MARGIN / MARGIN)}


def test_overdue_work_is_done_all_the_same():
    found = demand(NOW, [due(-500, blur=units(5_000))], fleet(1, blur=50))
    assert found.of("blur") == 50
    assert found.late[0].earliest_at > NOW


def test_what_was_asked_stands_in_for_what_is_not_known_to_run():
    on_pace = due(10, blur=units(4, 10))
    assert demand(NOW, [on_pace], fleet(None, 4, blur=50)) == demand(NOW, [on_pace], fleet(4, 4, blur=50))
    assert demand(NOW, [on_pace], fleet(None, 4, blur=50)).late == ()


def test_every_stage_of_the_route_starts_at_once():
    assert wanted([due(resize=1e5, split=1e-3, blur=1e-9)], fleet(resize=9, split=9, blur=9)) == {
        "resize": 9, "split": 1, "blur": 1,
    }  # fmt: skip


def test_unknown_is_an_answer_of_its_own():
    assert demand(NOW, [], fleet(blur=1)).of("sharpen") == Unknown("no stage is named 'sharpen'")


@pytest.mark.parametrize(("need", "asked", "replicas"), [
    (3.2, None, 4), (4.0, None, 4), (4.0000000001, None, 4), (0, None, 0),
    (3.2, 4, 4), (1.8, 4, 4), (1.6, 4, 3), (4.3, 4, 4), (4.5, 4, 5), (0.2, 1, 1), (1.2, 1, 2), (0.8, 2, 2), (0.1, 2, 2),
    (75, 100, 100), (65, 100, 93), (109, 100, 100), (111, 100, 111),
])  # fmt: skip
def test_small_changes_change_nothing(need, asked, replicas):
    assert steadied(need, asked) == replicas


def test_due_times_are_fixed_at_acceptance():
    stages = (stage("resize", horizon_s=600), stage("blur", horizon_s=300))
    assert due_at(NOW, None, stages) == NOW + 300
    assert due_at(NOW, NOW + 5, stages) == NOW + 5
    assert due_at(NOW, None, ()) == NOW + 900


WORK = st.fixed_dictionaries({}, optional={"resize": st.floats(0, 1e6), "blur": st.floats(0, 1e6)})
DUES = st.lists(
    st.builds(Due, st.just("b"), st.floats(NOW - 900, NOW), st.floats(NOW - 100, NOW + 9_000), WORK), max_size=6
)
FLEETS = st.builds(
    lambda least, more, running: [
        Running(stage(name, min=least, max=least + more, start_s=20), running) for name in ("resize", "blur")
    ],
    st.integers(0, 3), st.integers(1, 100), st.one_of(st.none(), st.integers(0, 60)),
)  # fmt: skip


@given(DUES, FLEETS)
def test_it_is_within_bounds_and_one_wherever_there_is_work(dues, stages):
    found = demand(NOW, dues, stages)
    for one in stages:
        answer = found.wanted[one.stage.name]
        assert one.stage.min_replicas <= answer.replicas <= one.stage.max_replicas
        assert answer.replicas >= (answer.work_s > 0)


@given(DUES, FLEETS, st.sampled_from(["resize", "blur"]), st.floats(1, 10))
def test_more_work_of_a_stage_never_wants_fewer_of_it(dues, stages, name, factor):
    """Of that stage; the others are slowed down where it is at its `max`."""
    more = [one._replace(work={**one.work, name: one.work.get(name, 0) * factor}) for one in dues]
    before, after = demand(NOW, dues, stages), demand(NOW, more, stages)
    assert after.wanted[name].replicas >= before.wanted[name].replicas


@given(DUES, st.integers(1, 8))
def test_children_and_work_scale_together(dues, children):
    one = [Running(stage(name, max=50)) for name in ("resize", "blur")]
    many = [Running(stage(name, max=50, children=children)) for name in ("resize", "blur")]
    more = [each._replace(work={name: work_s * children for name, work_s in each.work.items()}) for each in dues]
    assert wanted(dues, one) == wanted(more, many)


def run(arrivals, minutes, most=100, start_s=20.0, horizon_s=900.0):
    """A stage that is scaled every 15 s, as KEDA does it: starts take their time, and fewer only after 5 minutes.

    Returns the replicas at each step, the replica-seconds, and by how much the latest batch was late.
    """
    step_s, carrier = 15.0, stage("blur", max=most, start_s=start_s, horizon_s=horizon_s)
    left = deque(arrivals)
    batches: list[list[float]] = []  # accepted at, work left
    ready: list[tuple[float, int]] = []
    answers: deque[int] = deque(maxlen=20)
    running, asked, replicas, paid_s, late_s = 0, None, [], 0.0, 0.0
    for number in range(int(minutes * 60 / step_s)):
        now = number * step_s
        while left and left[0][0] <= now:
            batches.append(list(left.popleft()))
        dues = [Due(f"{at}", at, at + horizon_s, {"blur": work_s}) for at, work_s in batches]
        asked = demand(now, dues, [Running(carrier, running, asked)]).wanted["blur"].replicas
        answers.append(asked)
        target = max(asked, min(max(answers), running + len(ready)))
        while running + len(ready) < target:
            ready.append((now + start_s, 1))
        running += sum(at <= now for at, _ in ready)
        ready = [one for one in ready if one[0] > now]
        running = min(running, max(target - len(ready), 0))
        paid_s += (running + len(ready)) * step_s
        budget_s = running * EFFICIENCY * step_s
        for batch in sorted(batches):
            done_s = min(batch[1], budget_s)
            batch[1] -= done_s
            budget_s -= done_s
            if batch[1] <= 1e-9:
                late_s = max(late_s, now + step_s - batch[0] - horizon_s)
        batches = [batch for batch in batches if batch[1] > 1e-9]
        replicas.append(running)
    assert not batches or batches[0][0] + horizon_s > minutes * 60 - step_s
    return replicas, paid_s, late_s


def turns(replicas):
    """How often the number changes its direction."""
    changes = [after - before for before, after in itertools.pairwise(replicas) if after != before]
    return sum((one > 0) != (other > 0) for one, other in itertools.pairwise(changes))


@pytest.mark.parametrize("work_s", [100, 2_000, 20_000, 70_000])
def test_a_batch_alone_ends_in_time_without_waste(work_s):
    replicas, paid_s, late_s = run([(0.0, work_s)], minutes=40)
    assert late_s <= 0
    assert turns(replicas) <= 1
    least = work_s / EFFICIENCY
    assert paid_s <= 1.1 * least + max(replicas) * (300 + 35)  # and the five minutes before fewer run


@pytest.mark.parametrize("every_s", [15, 60])
@pytest.mark.parametrize("load", [0.7, 3.5, 12.0, 40.0])
def test_a_steady_stream_keeps_its_replicas(load, every_s):
    dice = random.Random(7)
    arrivals = [(number * every_s, load * every_s * dice.uniform(0.7, 1.3)) for number in range(6 * 3600 // every_s)]
    replicas, paid_s, late_s = run(arrivals, minutes=360)
    assert late_s <= 0
    settled = replicas[240:]  # after the first hour
    assert turns(settled) <= 10, "more than once in 30 minutes"
    assert paid_s <= 1.2 * sum(work_s for _, work_s in arrivals) / EFFICIENCY + 2 * 6 * 3600 * (load < 2)
