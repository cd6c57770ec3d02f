import re
import time

import pytest

from muniflow.model.api import BatchStatus, ForecastList, GradedForecast, StepProgress
from muniflow_cli.commands.output import duration, number, size
from muniflow_cli.commands.plan_grades import show_grades
from muniflow_cli.commands.progress import Bar, LogDisplay, Snapshot, log_line, snapshot_of

STATUS = BatchStatus(
    batch_id="utrecht",
    state="running",
    destination="utrecht",
    total=1000,
    done=240,
    failed=2,
    rate_images_per_s=12.34,
    eta_s=61.4,
    waiting_for="broker: memory alarm",
    steps=(StepProgress(op="split", expected=1000, done=300), StepProgress(op="blur", expected=4000, done=960)),
)


def test_a_line_says_everything():
    assert log_line(snapshot_of(STATUS)) == (
        "utrecht: running · images 242/1 000 · 1 split 300/1 000 · 2 blur 960/4 000 · 2 failed"
        " · 12.3/s images, 1m 01s left, waits for broker: memory alarm"
    )


def test_the_end_has_a_clock_time_or_a_reason():
    soon = STATUS.model_copy(update={"waiting_for": None, "eta_at": time.time() + 61.4})
    assert re.search(r"1m 01s left \(at \d\d:\d\d:\d\d\)$", log_line(snapshot_of(soon)))
    later = soon.model_copy(update={"eta_at": time.time() + 90_000})
    assert re.search(r"left \(at \d{4}-\d\d-\d\d \d\d:\d\d\)$", log_line(snapshot_of(later)))
    why = soon.model_copy(update={"eta_s": None, "eta_at": None, "eta_reason": "waits for a worker of blur"})
    assert log_line(snapshot_of(why)).endswith("12.3/s images, end not known: waits for a worker of blur")


@pytest.mark.parametrize(
    ("name", "title"),
    [("", "b"), ("b", "b"), ("De Bilt, [autumn]", "De Bilt, [autumn] (b)"), ("a\x1b[2J", "a\\x1b[2J (b)")],
)
def test_a_batch_is_shown_by_its_name_and_its_id(name, title):
    status = STATUS.model_copy(update={"batch_id": "b", "name": name})
    assert log_line(snapshot_of(status)).startswith(f"{title}: ")


def snapshot(done):
    return Snapshot("b", "running", Bar("images", done, 9))


def test_a_log_has_a_line_every_few_seconds_and_always_the_last_state():
    lines: list[str] = []
    now_s = 0.0
    with LogDisplay(lines.append, clock=lambda: now_s, every_s=3.0) as display:
        for now_s, done in [(0.0, 1), (1.0, 2), (2.9, 3), (3.0, 4), (4.0, 5)]:  # noqa: B007  # the clock reads it
            display.show(snapshot(done))

    assert lines == [log_line(snapshot(done)) for done in (1, 4, 5)]


def test_a_log_does_not_repeat_itself():
    lines: list[str] = []
    now_s = 0.0
    with LogDisplay(lines.append, clock=lambda: now_s, every_s=3.0) as display:
        for now_s in (0.0, 5.0, 10.0):  # noqa: B007  # the clock reads it
            display.show(snapshot(1))

    assert len(lines) == 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0.04, "0.0 s"), (59.94, "59.9 s"), (200, "3m 20s"), (3725, "1h 02m")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 B"), (999, "999 B"), (1200, "1.2 kB"), (3.4e6, "3.4 MB"), (5e12, "5.0 TB")]
)
def test_sizes(value, text):
    assert size(value) == text


def test_numbers_are_grouped():
    assert number(1234567) == "1 234 567"
    assert number(None) == ""


def test_grades_are_shown_with_the_coverage_of_p90(capsys):
    late = GradedForecast(
        batch_id="b",
        submitted_at=0.0,
        p50_s=10.0,
        p90_s=12.0,
        finish_s=10.0,
        actual_s=13.0,
        ratio=1.3,
        within_p90=False,
    )
    show_grades(ForecastList(forecasts=(late,), graded=1, coverage=0.0, p50_factor=1.02, p90_factor=1.6))
    shown = capsys.readouterr().out
    assert "1.30" in shown
    assert "0% of the last 1 graded batches ended within p90" in shown
    assert "a wide guess until more are graded" in shown
    show_grades(ForecastList(forecasts=()))
    assert "no forecast yet" in capsys.readouterr().out
