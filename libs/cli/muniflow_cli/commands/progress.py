"""Progress of a batch: live bars in a terminal, a line every few seconds in a log."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import click

from muniflow.model.api import BatchStatus
from muniflow_cli.commands.output import clock, console, duration, number, rate, titled, why_no_eta

if TYPE_CHECKING:
    from rich.progress import TaskID

LOG_EVERY_S = 3.0


@dataclass(frozen=True)
class Bar:
    """How far one thing is."""

    label: str
    done: int
    total: int
    failed: int = 0


@dataclass(frozen=True)
class Snapshot:
    """How far a batch is: the images, then each step."""

    batch: str
    state: str
    images: Bar
    steps: tuple[Bar, ...] = ()
    note: str = ""
    """Rate, time left, what it waits for."""


def snapshot_of(status: BatchStatus) -> Snapshot:
    """What the coordinator says, as progress."""
    notes = []
    if status.rate_images_per_s is not None:
        notes.append(f"{rate(status.rate_images_per_s)} images")
    if status.eta_s is not None:
        at = f" (at {clock(status.eta_at, time.time())})" if status.eta_at is not None else ""
        notes.append(f"{duration(status.eta_s)} left{at}")
    if reason := why_no_eta(status):
        notes.append(reason)
    return Snapshot(
        batch=titled(status.batch_id, status.name),
        state=status.state,
        images=Bar("images", status.done + status.failed + status.cancelled, status.total, status.failed),
        steps=tuple(
            Bar(f"{place + 1} {step.op}", step.done, step.expected, step.failed)
            for place, step in enumerate(status.steps)
        ),
        note=", ".join(notes),
    )


def log_line(snapshot: Snapshot) -> str:
    """One line that says everything."""
    bars = " · ".join(
        f"{bar.label} {number(bar.done)}/{number(bar.total)}" for bar in (snapshot.images, *snapshot.steps)
    )
    failed = f" · {number(snapshot.images.failed)} failed" if snapshot.images.failed else ""
    return f"{snapshot.batch}: {snapshot.state} · {bars}{failed}" + (f" · {snapshot.note}" if snapshot.note else "")


class Display(Protocol):
    """Where progress is shown; a context manager."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, snapshot: Snapshot) -> None:
        """Show how far it is now."""
        ...


class NoDisplay:
    """Shows nothing: for `--json`."""

    def __enter__(self) -> Self:
        """Nothing to start."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to end."""

    def show(self, snapshot: Snapshot) -> None:
        """Show nothing."""


class LogDisplay(NoDisplay):
    """A line when something changed, at most every few seconds; the last state is always shown."""

    def __init__(
        self,
        write: Callable[[str], None] = click.echo,
        clock: Callable[[], float] = time.monotonic,
        every_s: float = LOG_EVERY_S,
    ) -> None:
        self._write = write
        self._clock = clock
        self._every_s = every_s
        self._shown = ""
        self._shown_at_s = float("-inf")
        self._last = ""

    def show(self, snapshot: Snapshot) -> None:
        """Write a line if it is time."""
        self._last = log_line(snapshot)
        if self._clock() - self._shown_at_s >= self._every_s:
            self._flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what was not shown yet."""
        self._flush()

    def _flush(self) -> None:
        if self._last != self._shown:
            self._write(self._last)
            self._shown, self._shown_at_s = self._last, self._clock()


class LiveDisplay:
    """Bars that stay in place: the images, then each step."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress: Progress = Progress(
            TextColumn("{task.description}", justify="left"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console(),
        )
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last picture."""
        self._progress.stop()

    def show(self, snapshot: Snapshot) -> None:
        """Move the bars."""
        for bar in (snapshot.images, *snapshot.steps):
            first = bar is snapshot.images
            notes = [f"[red]{number(bar.failed)} failed[/]"] if bar.failed else []
            notes += [snapshot.note] if first and snapshot.note else []
            known: dict[str, Any] = {"completed": bar.done, "total": bar.total or None, "note": ", ".join(notes)}
            if bar.label in self._bars:
                self._progress.update(self._bars[bar.label], **known)
            else:
                title = "[bold]images[/]" if first else f"  {bar.label}"
                self._bars[bar.label] = self._progress.add_task(title, **known)


def new_display(*, quiet: bool = False) -> Display:
    """The display that fits where the output goes."""
    if quiet:
        return NoDisplay()
    return LiveDisplay() if console().is_terminal else LogDisplay()
