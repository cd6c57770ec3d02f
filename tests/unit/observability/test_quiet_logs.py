"""A log is quiet whatever the size of a batch, and each of its lines says what it concerns."""

import io
import json
import logging
import sys
import threading

import pytest
from tests.support.compute_help import picture, spec, task, write_source
from tests.support.worker_help import WorkerHarness, published
from tests.unit.coordinator.conftest import CoordinatorHarness, all_done, failed

from muniflow.runtime.logs import MAX_ALIKE, MINUTE_S, Sparse, configure, task_fields

IMAGES, COORDINATED = 80, 600
FEW = 24
"""A couple of dozen: what is said of start, end and trouble, plus `MAX_ALIKE` examples of each kind of failure."""


@pytest.fixture
def log(monkeypatch):
    """The log of this process as a container writes it; the root logger is as before afterwards."""
    for module in (sys, threading):
        monkeypatch.setattr(module, "excepthook", module.excepthook)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    configure("json", "INFO", "test", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_worker_writes_examples_of_what_fails_and_not_each(tmp_path, log):
    for number in range(IMAGES):
        if number % 2:
            (tmp_path / "source").mkdir(exist_ok=True)
            (tmp_path / "source" / f"{number}.png").write_bytes(b"no image")
        else:
            write_source(tmp_path, f"{number}.png", picture(30, 20, number))
    harness = WorkerHarness(spec(tmp_path), ("smooth",))
    harness.on_settled = lambda: harness.worker.stop() if len(harness.coverage) == IMAGES else None
    harness.run(published([task(f"{number}.png", "smooth", image=number) for number in range(IMAGES)]))
    assert harness.sample("muniflow_failures_total", step="smooth", reason="rejected") == IMAGES / 2
    lines = log()
    assert len(lines) <= FEW
    about = [line for line in lines if line["message"].startswith("task failed")]
    assert len(about) == MAX_ALIKE
    for line in about:
        assert (line["batch"], line["op"], line["step"], line["attempt"]) == ("b", "smooth", 0, 1)
        assert line["image"] % 2 == 1


def test_a_coordinator_says_when_a_batch_begins_and_ends_and_nothing_of_its_images(tmp_path, log):
    harness = CoordinatorHarness.in_real_time(tmp_path)
    try:
        harness.pictures(COORDINATED)
        harness.answer = lambda sent: failed(sent) if sent.image % 10 == 3 else all_done(sent)
        harness.start(window_images=100)
        harness.submit(operations=[["copy", 2], ["paste", 1]])
        assert harness.finish(deadline_s=60).failed == COORDINATED / 10
        lines = log()
    finally:
        harness.close()
    assert len(lines) <= FEW
    of_batch = [line for line in lines if "batch" in line["message"]]
    assert of_batch
    assert all(line["batch"] == "b" for line in of_batch)


def record(text, at, *arguments):
    made = logging.makeLogRecord({"name": "x", "msg": text, "args": arguments})
    made.created = at
    return made


def test_lines_of_a_kind_are_thinned_out_and_counted():
    sparse = Sparse()
    passed = [sparse.filter(record("task failed: %s", number / 100, number)) for number in range(1000)]
    assert sum(passed) == MAX_ALIKE
    assert sparse.filter(record("batch done", 1.0)), "another kind"
    later = record("task failed: %s", MINUTE_S + 1, 1)
    assert sparse.filter(later)
    assert vars(later)["left_out"] == 1000 - MAX_ALIKE
    again = record("task failed: %s", MINUTE_S + 2, 1)
    assert sparse.filter(again)
    assert "left_out" not in vars(again)


def test_for_debugging_every_line_is_there():
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    try:
        configure("console", "DEBUG", "test", stream)
        for number in range(3 * MAX_ALIKE):
            logging.getLogger("x").info("line %d", number)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert len(stream.getvalue().splitlines()) == 3 * MAX_ALIKE


def test_the_fields_of_a_task_name_it_and_hold_nothing_of_the_image():
    fields = task_fields(task("secret-street-12.jpg", "half", image=7, attempt=3))
    assert fields == {"batch": "b", "image": 7, "step": 0, "op": "half", "lineages": ["whole"], "attempt": 3}
