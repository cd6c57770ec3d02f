"""A coordinator process from election to the end of a batch, on one thread and in virtual time: equal in every run."""

import ast
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import muniflow_coordinator
from muniflow.errors import Unavailable
from muniflow.model.keys import work_prefix
from muniflow.runtime.failpoints import Failpoints
from muniflow.testing.inline import InlineRepeater
from muniflow.testing.virtual_time import START_S
from muniflow_coordinator.handlers.list_reader import RETRY_DELAY_S
from muniflow_coordinator.leadership.file_lock import FileLock
from muniflow_coordinator.lifecycle import Process
from muniflow_coordinator.retry_queue import FIRST_PAUSE_S
from muniflow_coordinator.state.opening import open_state

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import CoordinatorHarness

IMAGES = 9
HOUR_S = 3600.0


@dataclass
class Account:
    """Everything that a run shows to the outside."""

    published: list[tuple[float, str, str, bytes, str]] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    """Intermediates, two hours later."""


def record(harness: "CoordinatorHarness", account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    take = harness.broker.take

    def recorded(messages: Any, done: Any) -> None:
        now_s = harness.clock.monotonic_s()
        account.published += [(now_s, m.exchange, m.routing_key, m.body, m.message_id) for m in messages]
        take(messages, done)

    monkeypatch.setattr(harness.broker, "take", recorded)


def fails_once() -> Callable[[], None]:
    hits: list[None] = []

    def hit() -> None:
        hits.append(None)
        if len(hits) == 1:
            raise Unavailable("state database", "a test took it away")

    return hit


def run(harness: "CoordinatorHarness", answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Account:
    """One batch: its source is not mounted at first, one image fails, one commit is retried."""
    account = Account()
    record(harness, account, monkeypatch)
    harness.stores.work.write(work_prefix("b", 1) + "x.raw", b"x")
    (harness.root / "source").rename(harness.root / "away")
    harness.answer = lambda task: answers["failed" if task.image == 3 else "all_done"](task)
    database = harness.root / "state.sqlite"
    armed = Failpoints({"coordinator.before_commit": fails_once()})
    state = harness.state = open_state(f"sqlite:///{database}", harness.clock, armed)
    process = Process(
        harness.loop,
        harness.clock,
        state,
        lock=FileLock(database),
        repeater=InlineRepeater(harness.loop),
        make=lambda give_up: harness.make(state, give_up, armed, window_images=3, unfinished_after_s=HOUR_S),
    )
    process.start()
    harness.submit(operations=[["copy", 2], ["paste", 1]])
    harness.until(lambda: process.coordinator and any(i.waiting_for for i in process.coordinator.view.intakes.values()))
    (harness.root / "away").rename(harness.root / "source")
    harness.pictures(IMAGES)
    for path in (harness.root / "source/in").iterdir():
        os.utime(path, (1.0, 1.0))  # the one time here that is real
    harness.finish()
    account.report = harness.report()
    harness.loop.call_later(2 * HOUR_S, harness.loop.stop)
    harness.loop.start()
    account.left = [blob.key for blob in harness.stores.work.list()]
    process.end()
    assert process.coordinator
    process.coordinator.transport.stop(lambda: None)
    state.close()
    harness.state = None
    harness.close()
    return account


def test_two_runs_publish_the_same_at_the_same_time(
    tmp_path: Path,
    virtual_harness: "Callable[[Path], CoordinatorHarness]",
    answers: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise AssertionError("a thread was started")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr("muniflow_coordinator.handlers.image_list.CHUNK", 2)
    first, second = (run(virtual_harness(tmp_path / name), answers, monkeypatch) for name in ("first", "second"))
    assert first == second
    assert first.report["totals"] == first.report["totals"] | {"done": IMAGES - 1, "failed": 1}
    assert first.report["times"] == {
        "submitted_at": START_S,
        "finished_at": START_S + RETRY_DELAY_S + FIRST_PAUSE_S,
        "seconds": RETRY_DELAY_S + FIRST_PAUSE_S,
    }, "nothing takes time but the waits for the source store and for the database"
    assert first.left == []


def test_no_module_of_the_coordinator_takes_time_chance_or_threads_by_itself() -> None:
    found = {
        f"{path.name}: {name}"
        for path in Path(muniflow_coordinator.__file__).parent.rglob("*.py")
        for name in imports(path)
        if name in {"time", "random", "threading", "asyncio", "concurrent.futures.ThreadPoolExecutor"}
    }
    assert found == set()


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield module
                yield from (f"{module}.{alias.name}" for alias in names)
