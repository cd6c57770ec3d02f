"""Nobody makes it much slower without noticing: exact counts and CPU ratios, never wall-clock limits."""

import time

import pytest
from benchmarks import guard

from muniflow.compute.process import process


def test_nothing_got_much_slower(capsys):
    assert guard.faults() == [], capsys.readouterr().out


def test_calls_are_counted_exactly():
    def work() -> None:
        for _ in range(10):
            len("abc")

    assert guard.count_calls(work) == guard.count_calls(work) == 12  # work, ten times len, and the end of counting


def test_a_second_decode_is_noticed(monkeypatch: pytest.MonkeyPatch):
    real = process

    def twice(task, context):
        real(task, context)
        return real(task, context)

    monkeypatch.setattr(guard, "process", twice)
    faults = guard.faults(say=lambda _: None)
    assert [fault.split(" is ")[0] for fault in faults] == [
        "CPU of `process` over the plain chain",
        "calls of one task, computed",
    ]


def test_waiting_is_not_work():
    assert guard._cpu_s(lambda _: time.sleep(0.05), 0) < 0.04
