"""Profiles from folded stacks."""

from benchmarks.stacks import Share, parse, top_self, top_total, working

LINES = ["main;a;b 6", "main;a;a 2", "main;c d 2", "", "nonsense"]


def test_self_time_is_of_the_innermost_function():
    assert top_self(parse(LINES), 2) == [Share("b", 0.6), Share("a", 0.2)]


def test_total_time_counts_recursion_once():
    assert top_total(parse(LINES), 2) == [Share("main", 1.0), Share("a", 0.8)]


def test_no_samples_are_no_shares():
    assert top_self([], 3) == []


def test_a_thread_that_waits_does_not_count():
    waits = ["main;Condition.wait (threading.py) 90", "main;child_main (muniflow/compute/child.py) 20"]
    assert working(parse([*waits, "main;work 10"])) == [(["main", "work"], 10)]
