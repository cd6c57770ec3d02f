"""The forecast of a batch, from its acceptance to its grade: over a real coordinator in virtual time."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from tests.unit.coordinator.test_eta import Workers, end_at, pass_s, read_by_name, submit, until

from muniflow.forecast.grade import Forecast
from muniflow.forecast.interval import ENOUGH, WINDOW
from muniflow.forecast.stage import Stage
from muniflow.testing.virtual_time import START_S
from muniflow_coordinator.api.forecasts import forecast_list
from muniflow_coordinator.foresight.forecaster import TURN_S
from muniflow_coordinator.metrics import Metrics
from muniflow_coordinator.state.learned_types import ForecastRow

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import CoordinatorHarness

TWO = (Stage(name="copy", operations=("copy",), min_replicas=2, max_replicas=2),)


@pytest.fixture
def here(tmp_path: Path, virtual_harness: "Callable[[Path], CoordinatorHarness]") -> "Iterator[CoordinatorHarness]":
    with closing(virtual_harness(tmp_path / "one")) as made:
        made.read_pictures = read_by_name
        yield made


def row_of(here: "CoordinatorHarness", batch: str = "b") -> ForecastRow:
    assert here.state
    (found,) = [row for row in here.state.forecasts() if row.batch == batch]
    return found


def earlier(ratio: float, count: int) -> list[ForecastRow]:
    """Batches that took `ratio` times what was forecast."""
    forecast = Forecast(10.0, 10.0, 12.0)
    return [ForecastRow(f"e{n}", START_S - 900, forecast, 10.0 * ratio, START_S - 500 + n) for n in range(count)]


def test_a_batch_is_forecast_at_acceptance_and_graded_at_its_end(here: "CoordinatorHarness") -> None:
    coordinator = here.start(window_images=16, stages=TWO)
    Workers(here, 2).start()
    pass_s(here, TURN_S)
    submit(here, "before", "sl" * 20)
    until(here, lambda: here.ended("before"))
    submit(here, "b", "s" * 40 + "l" * 40)
    pass_s(here, TURN_S)
    fixed = row_of(here).forecast
    assert fixed is not None
    took_s = end_at(here, "b") - row_of(here).submitted_at
    pass_s(here, TURN_S)
    graded = row_of(here)
    assert graded.forecast == fixed, "it is fixed"
    assert graded.actual_s == pytest.approx(took_s)
    assert fixed.finish_s == pytest.approx(took_s, rel=0.15)
    expected = {"p50_s": round(fixed.p50_s, 3), "p90_s": round(fixed.p90_s, 3), "actual_s": round(took_s, 3)}
    assert here.report("b")["forecast"] == expected
    assert here.state
    listed = forecast_list(here.state, 50)
    assert (listed.graded, listed.calibrated) == (2, False)
    assert [one.batch_id for one in listed.forecasts] == ["b", "before"]
    live = coordinator.live()
    assert (live.graded, live.coverage) == (2, listed.coverage)
    registry = CollectorRegistry()
    Metrics(registry).watch(coordinator.live)
    assert "muniflow_forecasts_graded 2.0" in generate_latest(registry).decode()


def test_a_forecast_is_that_of_the_whole_batch_whatever_workers_have_told_by_then(here: "CoordinatorHarness") -> None:
    """Else plans, which are corrected by these grades, are too short by what is told late."""
    here.start(window_images=16, stages=TWO)
    workers = Workers(here, 2)
    workers.start()
    pass_s(here, TURN_S)
    workers.hang = True  # nothing is told
    for number in range(3):
        submit(here, f"b{number}", "l" * 40)
        pass_s(here, TURN_S + 0.5)  # another moment between two turns for each
    fixed = [row_of(here, f"b{number}").forecast for number in range(3)]
    alone_s = fixed[0].finish_s if fixed[0] else 0.0
    # The later ones wait for the earlier ones, as these do for them: each turn deals to all.
    expected = [alone_s, 2 * alone_s, 3 * alone_s]
    assert [each.finish_s for each in fixed if each] == pytest.approx(expected, rel=0.03)


def test_a_forecast_is_kept_over_a_restart_and_graded_after_it(here: "CoordinatorHarness") -> None:
    here.start(window_images=16, stages=TWO)
    Workers(here, 2).start()
    pass_s(here, TURN_S)
    submit(here, "b", "l" * 40)
    pass_s(here, TURN_S * 2)
    fixed = row_of(here).forecast
    assert fixed
    here.crash()
    here.start(window_images=16, stages=TWO)
    end_at(here, "b")
    pass_s(here, TURN_S)
    assert row_of(here).forecast == fixed
    assert row_of(here).actual_s


def test_what_ends_before_a_forecast_or_cannot_be_forecast_says_why(here: "CoordinatorHarness") -> None:
    here.start(stages=TWO)
    submit(here, "b", "s")
    here.finish("b")
    entry = here.report("b")["forecast"]
    assert (entry["p50_s"], entry["p90_s"]) == (None, None)
    assert entry["reason"] == "the batch ended before one could be made"
    pass_s(here, TURN_S)
    here.hold = True
    submit(here, "c", "s" * 9)
    pass_s(here, TURN_S)
    here.let_go()
    here.finish("c")
    assert here.report("c")["forecast"]["reason"] == "the number of workers of copy is not known"


@pytest.mark.parametrize("count", [ENOUGH, WINDOW + 30])
def test_grades_of_earlier_terms_correct_the_next_forecast(here: "CoordinatorHarness", count: int) -> None:
    here.start(stages=TWO)
    assert here.state
    here.state.keep_forecasts(earlier(2.0, count), 500)
    pass_s(here, TURN_S)
    here.crash()
    coordinator = here.start(stages=TWO)
    assert coordinator.forecasts.interval.calibrated
    here.hold = True
    here.consumers["copy"] = 2
    pass_s(here, TURN_S)
    submit(here, "b", "l" * 40)
    pass_s(here, TURN_S * 2)
    fixed = row_of(here).forecast
    assert fixed
    assert fixed.p50_s == pytest.approx(2.0 * fixed.finish_s, rel=0.1)


def test_a_database_that_refuses_the_table_keeps_no_batch_from_its_end(
    here: "CoordinatorHarness", monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_arguments: Any) -> None:
        raise RuntimeError("no such table: forecasts")

    here.start(stages=TWO)
    assert here.state
    monkeypatch.setattr(here.state, "keep_forecasts", refuse)
    Workers(here, 2).start()
    pass_s(here, TURN_S)
    for batch in ("a", "b"):
        submit(here, batch, "l" * 10)
        end_at(here, batch)
        assert here.report(batch)["forecast"]["p50_s"], "it is known in memory"
        pass_s(here, TURN_S)
    assert caplog.text.count("forecasts are not kept now") == 1


def test_a_batch_that_was_reopened_is_due_from_then_on_also_after_a_restart(
    here: "CoordinatorHarness", answers: dict[str, Any]
) -> None:
    stages = (Stage(name="copy", operations=("copy",), max_replicas=20),)
    here.answer = answers["failed"]
    here.start(stages=stages)
    submit(here, "b", "l" * 600)
    here.finish("b")
    pass_s(here, 7200)
    here.hold = True
    here.command("reopen")
    until(here, lambda: here.coordinator and here.coordinator.view.runs.get("b"))
    pass_s(here, TURN_S * 2)
    reopened_at = row_of(here).reopened_at
    assert reopened_at == pytest.approx(here.clock.now_s(), abs=TURN_S * 3)
    for _ in range(2):
        here.crash()
        coordinator = here.start(stages=stages)
        pass_s(here, TURN_S + 0.5)
        assert coordinator.forecaster.outlook()["copy"].wanted == 1, "not the maximum, as for a batch that is late"
        assert row_of(here).reopened_at == reopened_at, "fixed"
    here.answer = answers["all_done"]
    here.let_go()
    here.finish("b")
    assert here.report("b")["forecast"]["reason"] == "the batch was re-opened after its end"
    assert row_of(here).actual_s is None


def test_a_crash_right_after_the_reopening_is_noticed_by_the_recorded_end(
    here: "CoordinatorHarness", answers: dict[str, Any]
) -> None:
    here.answer = answers["failed"]
    here.start(stages=TWO)
    submit(here, "b", "l" * 60)
    here.finish("b")
    pass_s(here, 7200)
    here.hold = True
    here.command("reopen")
    here.until(lambda: here.coordinator and here.coordinator.view.runs.get("b"))
    assert row_of(here).reopened_at is None
    here.crash()
    here.start(stages=TWO)
    pass_s(here, TURN_S * 2)
    assert row_of(here).reopened_at == pytest.approx(here.clock.now_s(), abs=TURN_S * 3)
