"""Background work: in threads beside a real loop, and without threads in virtual time."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from tests.support.waiting import run_until

from muniflow.runtime.executor import DetachedThreads, Executor, Repeater, ThreadExecutor, ThreadRepeater
from muniflow.runtime.loop import Loop, new_loop
from muniflow.testing.inline import InlineExecutor, InlineRepeater
from muniflow.testing.virtual_time import START_S, VirtualClock, VirtualLoop


@dataclass
class Kit:
    loop: Loop
    executor: Executor
    repeater: Repeater

    def until(self, condition: Callable[[], object]) -> None:
        run_until(self.loop, condition, 20)


@pytest.fixture(params=["threads", "detached", "inline"])
def kit(request: pytest.FixtureRequest) -> Iterator[Kit]:
    if request.param == "threads":
        loop = new_loop()
        made = Kit(loop, ThreadExecutor.of(loop, "test", 2), ThreadRepeater("test"))
    elif request.param == "detached":
        loop = new_loop()
        made = Kit(loop, ThreadExecutor(loop, DetachedThreads("test")), ThreadRepeater("test"))
    else:
        loop = VirtualLoop(VirtualClock())
        made = Kit(loop, InlineExecutor(loop), InlineRepeater(loop))
    yield made
    made.repeater.stop()
    made.executor.stop()
    loop.close()


def test_a_result_comes_back_on_the_loop(kit: Kit) -> None:
    results: list[tuple[int, bool]] = []
    main = threading.current_thread()
    kit.executor.submit(lambda: 42, lambda done: results.append((done.result(), threading.current_thread() is main)))
    assert results == []
    kit.until(lambda: results)
    assert results == [(42, True)]


def test_an_error_is_raised_where_the_result_is_wanted(kit: Kit) -> None:
    errors: list[BaseException | None] = []
    kit.executor.submit(lambda: 1 // 0, lambda done: errors.append(done.exception()))
    kit.until(lambda: errors)
    assert isinstance(errors[0], ZeroDivisionError)


def test_nothing_comes_after_a_stop(kit: Kit) -> None:
    results: list[object] = []
    kit.executor.submit(lambda: "late", results.append)
    kit.executor.stop()
    kit.executor.submit(lambda: "later", results.append)
    passed: list[bool] = []
    kit.loop.call_later(0.05, lambda: passed.append(True))
    kit.until(lambda: passed)
    assert (results, kit.executor.stopped) == ([], True)


def test_a_repeater_goes_on_until_its_function_ends_it(kit: Kit) -> None:
    turns: list[int] = []

    def turn() -> float | None:
        turns.append(len(turns))
        return 0.001 if len(turns) < 3 else None

    kit.repeater.start(turn)
    kit.until(lambda: len(turns) == 3)
    assert kit.repeater.stop()
    assert len(turns) == 3


def test_a_pause_can_be_ended(kit: Kit) -> None:
    turns: list[int] = []

    def turn() -> float:
        turns.append(len(turns))
        return 3600.0

    kit.repeater.start(turn)
    kit.until(lambda: len(turns) == 1)
    kit.repeater.wake()
    kit.until(lambda: len(turns) == 2)
    assert kit.repeater.stop()


def test_timers_run_in_order_and_take_no_time() -> None:
    clock = VirtualClock()
    loop = VirtualLoop(clock)
    seen: list[tuple[str, float]] = []
    loop.call_later(3600, lambda: seen.append(("hour", clock.monotonic_s())))
    loop.call_later(60, lambda: loop.add_callback_threadsafe(lambda: seen.append(("minute", clock.monotonic_s()))))
    forgotten = loop.call_later(1, lambda: seen.append(("never", clock.monotonic_s())))
    loop.remove_timeout(forgotten)
    loop.start()
    assert seen == [("minute", 60), ("hour", 3600)]
    assert clock.now_s() == START_S + 3600
