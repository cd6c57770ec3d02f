"""The waits of the tests themselves: they return what came, and fail with what did not."""

import pytest
from tests.support.waiting import eventually, run_until, seconds_until

from muniflow.runtime.loop import new_loop


def test_the_first_true_answer_is_returned():
    answers = iter([0, "", None, "here"])
    assert eventually(lambda: next(answers), every_s=0) == "here"


@pytest.mark.parametrize("what", ["the end", lambda: "the end"])
def test_what_does_not_come_fails_by_its_name(what):
    with pytest.raises(AssertionError, match="not within 0 s: the end"):
        eventually(lambda: False, 0.01, what, every_s=0)


def test_the_time_is_that_of_the_wait():
    answers = iter([False, False, True])
    assert 0.02 <= seconds_until(lambda: next(answers)) < 60


def test_a_loop_runs_until_the_condition_and_is_free_for_the_next_wait():
    loop = new_loop()
    try:
        seen = []
        loop.call_later(0.005, lambda: seen.append("first"))
        run_until(loop, lambda: seen)
        with pytest.raises(AssertionError, match="not within 0 s: a second"):
            run_until(loop, lambda: len(seen) == 2, 0.05, "a second")
        loop.call_later(0.005, lambda: seen.append("second"))
        run_until(loop, lambda: len(seen) == 2)
        assert seen == ["first", "second"]
    finally:
        loop.close()
