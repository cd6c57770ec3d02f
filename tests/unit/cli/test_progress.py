import pytest

from muniflow.model.api import BatchStatus, StepProgress
from muniflow_cli.commands.output import duration, number, size
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
