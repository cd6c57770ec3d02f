"""The fairness that is published is computed from the order of tasks alone."""

import pytest
from benchmarks.coordinator import shares


def test_work_by_weight_is_exactly_fair():
    order = ["a", "b", "b"] * 10
    assert shares(order, {"a": 1, "b": 2}, images=20, skip=0) == pytest.approx({"a": 1.0, "b": 1.0}, rel=0.1)


def test_a_starved_batch_shows():
    order = ["a"] * 9 + ["b"] + ["a"] * 9
    found = shares(order, {"a": 1, "b": 1}, images=19, skip=0)
    assert found["b"] == pytest.approx(1 / 9.5, rel=0.1)


def test_counting_ends_when_the_first_batch_has_no_more_images():
    order = ["a", "b"] * 5 + ["b"] * 100
    assert shares(order, {"a": 1, "b": 1}, images=5, skip=0) == pytest.approx({"a": 1.0, "b": 1.0})


def test_what_was_dealt_before_all_were_there_does_not_count():
    order = ["a"] * 4 + ["a", "b"] * 3
    assert shares(order, {"a": 1, "b": 1}, images=9, skip=4) == pytest.approx({"a": 1.0, "b": 1.0})
