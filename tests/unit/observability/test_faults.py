"""What trouble looks like in the metrics: the values that stay at zero while all is well."""

import shutil
import sqlite3
from contextlib import closing

import pytest
from prometheus_client import CollectorRegistry
from tests.support.compute_help import picture, spec, task, write_source
from tests.support.worker_help import WorkerHarness, published
from tests.unit.coordinator.conftest import CoordinatorHarness, all_done

from muniflow_coordinator.metrics import CAUSES, Metrics


@pytest.fixture
def harness(tmp_path):
    with closing(CoordinatorHarness.in_real_time(tmp_path)) as made:
        yield made


def scraped(coordinator):
    """A way to read the metrics of a coordinator as Prometheus would."""
    registry = CollectorRegistry()
    Metrics(registry).watch(coordinator.live)

    def value(name, **labels):
        return registry.get_sample_value(f"muniflow_{name}", labels)

    return value


def held(value):
    """The causes that batches wait for, with how many do."""
    return {cause: count for cause in CAUSES if (count := value("batches_held", cause=cause))}


def test_children_that_die_at_work_are_counted(tmp_path):
    write_source(tmp_path, "a.png", picture(30, 20, 1))
    harness = WorkerHarness(spec(tmp_path), ("abort",))
    harness.on_settled = harness.worker.stop
    harness.run(published([task("a.png", ("abort", {"width_px": 30}))]))
    assert harness.sample("muniflow_failures_total", step="abort", reason="crash") == 1
    assert harness.sample("muniflow_child_deaths_total") == 1


def test_a_database_that_is_away_holds_every_batch(harness, monkeypatch):
    monkeypatch.setattr("muniflow_coordinator.state.opening.BUSY_TIMEOUT_S", 0.01)
    monkeypatch.setattr("muniflow_coordinator.retry_queue.FIRST_PAUSE_S", 0.02)
    harness.pictures(3)
    harness.hold = True
    coordinator = harness.start()
    value = scraped(coordinator)
    harness.submit()
    harness.until(lambda: len(harness.held) == 3)
    assert (value("ledger_waiting"), held(value)) == (0, {})
    other = sqlite3.connect(harness.root / "state.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    harness.let_go()
    harness.until(lambda: coordinator.retry_queue.waiting_for)
    assert (value("ledger_waiting"), held(value)) == (1, {"ledger": 1})
    other.execute("ROLLBACK")
    other.close()
    harness.finish()
    assert value("ledger_waiting") == 0


def test_a_broker_that_is_blocked_and_a_report_that_cannot_be_written_hold_a_batch(harness, monkeypatch):
    monkeypatch.setattr("muniflow_coordinator.handlers.finalizer.RETRY_DELAY_S", 0.02)
    output = harness.root / "output"
    harness.pictures(1)
    harness.hold = True
    coordinator = harness.start()
    value = scraped(coordinator)
    harness.submit()
    harness.until(lambda: harness.held)
    shutil.rmtree(output, ignore_errors=True)
    output.write_text("a file where a folder should be")
    harness.broker.block("memory alarm")
    assert (value("blocked"), held(value)) == (1, {"broker": 1})
    harness.broker.unblock()
    assert (value("blocked"), held(value)) == (0, {})
    harness.let_go()
    harness.until(lambda: held(value) == {"report": 1})
    output.unlink()
    harness.finish()
    assert held(value) == {}


def test_intermediates_that_wait_for_removal_are_counted(harness):
    harness.pictures(3)
    harness.answer = lambda sent: [] if sent.image == 2 else all_done(sent)
    coordinator = harness.start()
    value = scraped(coordinator)
    coordinator.view.cleaner.parallel = 0
    harness.submit(operations=[["copy", 1], ["paste", 1]])
    harness.until(lambda: value("images_pending") == 1)
    assert value("cleanup_waiting") == 2
