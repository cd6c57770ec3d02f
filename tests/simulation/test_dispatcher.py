"""The simulated coordinator deals turns as the real one does, and dispatches no more than its windows allow."""

import pytest
from tests.simulation.scaling.dispatcher import Dispatcher
from tests.simulation.scaling.forecaster import Forecaster
from tests.simulation.scaling.grade import stages
from tests.simulation.scaling.pipeline import Flow
from tests.simulation.scaling.workload import EXPRESS_IMAGES, Job

from muniflow_coordinator.runs.window import AllWindows, Window

MANY = 10**9


def flows(*batches):
    """Due time, priority and weight of each, and who sent it."""
    return [
        Flow(Job(f"b{n}", 0.0, MANY, 1.0, ("resize",), due_s, False, 1.0, *standing), n)
        for n, (due_s, *standing) in enumerate(batches)
    ]


def parts(*batches, steps=40, images=1000):
    """Of all images that are done, by batch."""
    running = flows(*batches)
    dispatcher = Dispatcher()
    for step in range(steps):
        dispatcher.follow(running, AllWindows({flow.number: Window(100, 0) for flow in running}, 100))
        dispatcher.advance({"resize": images * running[0].seconds[0]}, step * 15.0, 15.0)
    done = [flow.passed[0] for flow in running]
    assert sum(done) == pytest.approx(steps * images)
    return [one / sum(done) for one in done]


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        ([(50.0, "normal", 1)], [1.0]),
        ([(50.0, "normal", 1), (90.0, "normal", 1)], [0.75, 0.25]),
        ([(90.0, "normal", 1), (50.0, "normal", 3)], [0.125, 0.875]),
        ([(90.0, "normal", 1), (90.0, "low", 9)], [0.95, 0.05]),
        ([(90.0, "high", 1), (50.0, "normal", 9)], [0.95, 0.05]),
        ([(90.0, "normal", 1, "roads"), (50.0, "high", 9, "planning")], [0.5, 0.5]),
    ],
)
def test_turns(batches, expected):
    assert parts(*batches) == pytest.approx(expected, abs=0.02)


def test_a_small_batch_goes_before_a_large_one_of_its_owner():
    large, small = (Flow(Job(f"b{n}", 0.0, n, 1.0, ("resize",), 90.0, False, 1.0), n) for n in (MANY, EXPRESS_IMAGES))
    dispatcher = Dispatcher()
    for step, running in enumerate([[large], [large, small], [large, small]]):
        windows = {flow.number: Window(1000, 0) for flow in running}
        dispatcher.follow(running, AllWindows(windows, 2000))
        dispatcher.advance({"resize": 100 * large.seconds[0]}, step * 15.0, 15.0)
    assert small.ended_s is not None, "of the thousand that were in flight before it, a hundred are done in a step"
    assert large.passed[0] == pytest.approx(300 - EXPRESS_IMAGES)


def test_no_more_is_in_flight_than_the_windows_allow_while_a_later_stage_starts():
    job = Job("one", 0.0, 100_000, 4.0, ("resize", "blur"), 900.0, False, 1.0)
    of = stages()
    forecaster = Forecaster(of)
    flow, dispatcher, most = Flow(job), Dispatcher(), []
    for step in range(8):
        answer = forecaster.turn(step * 15.0, [flow], {"resize": 10, "split": 0, "blur": 0})
        dispatcher.follow([flow], answer.windows)
        dispatcher.advance({"resize": 150.0, "split": 0.0, "blur": 0.0}, step * 15.0, 15.0)
        most.append((flow.in_flight, answer.windows.total))
    assert all(in_flight <= window + 1 for in_flight, window in most)
    assert flow.waiting(1) > 256 / 2
    assert flow.passed[1] == 0
