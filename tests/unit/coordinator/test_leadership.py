"""Leader election: the lock of a file, the elector that holds a lock, and the choice of a lock."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.waiting import run_until

from muniflow.errors import Invalid, Rejected, Unavailable
from muniflow.runtime.clock import SYSTEM_CLOCK
from muniflow.runtime.executor import ThreadRepeater
from muniflow.runtime.loop import Loop, new_loop
from muniflow_coordinator.leadership.choose import lock_of
from muniflow_coordinator.leadership.elector import Elector, ElectorEvents
from muniflow_coordinator.leadership.file_lock import FileLock
from muniflow_coordinator.settings import CoordinatorSettings


def test_one_process_has_the_lock_of_a_file(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "db"), FileLock(tmp_path / "db")
    assert first.acquire()
    assert not second.acquire()
    assert (first.renew(), second.renew()) == (True, False)
    assert f"process {os.getpid()} " in str(second.holder)
    first.release()
    assert second.acquire()
    second.release()


def test_a_lock_file_that_somebody_removed_is_no_lock(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "db"), FileLock(tmp_path / "db")
    assert first.acquire()
    (tmp_path / "db.lock").unlink()
    assert second.acquire()
    assert not first.renew()
    second.release()
    first.release()


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time; from muniflow_coordinator.leadership.file_lock import FileLock\n"
        "lock = FileLock(pathlib.Path(sys.argv[1])); print(lock.acquire(), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path / "db"], stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == b"True\n"
        mine = FileLock(tmp_path / "db")
        assert not mine.acquire()
        other.kill()
        other.wait()
        assert mine.acquire()
        mine.release()


def test_a_folder_that_is_missing_is_trouble(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="No such file"):
        FileLock(tmp_path / "nowhere" / "db").acquire()


class Script:
    """A lock that answers by a script; the last answer repeats."""

    poll_s = renew_s = 0.01
    holder = "somebody"

    def __init__(self, acquire: list[object], renew: list[object] | None = None, valid_s: float = 60.0) -> None:
        self.valid_s = valid_s
        self._acquire, self._renew = acquire, renew or [True]
        self.released = 0

    def acquire(self) -> bool:
        return self._say(self._acquire)

    def renew(self) -> bool:
        return self._say(self._renew)

    def release(self) -> None:
        self.released += 1

    @staticmethod
    def _say(answers: list[object]) -> bool:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)


class Owner:
    """The callbacks of an elector, in order."""

    def __init__(self, loop: Loop, lock: Script, prepare: Callable[[], None] = lambda: None) -> None:
        self.loop = loop
        self.told: list[str] = []
        events = ElectorEvents(
            lambda: self.tell("elected"),
            lambda _: self.tell("deposed"),
            lambda error: self.tell(f"impossible: {error}"),
        )
        repeater = ThreadRepeater("leadership")
        self.elector = Elector(loop, SYSTEM_CLOCK, lock, repeater=repeater, prepare=prepare, events=events)

    def tell(self, what: str) -> None:
        self.told.append(what)

    def until(self, *told: str) -> None:
        run_until(self.loop, lambda: self.told[: len(told)] == list(told), what=lambda: f"{told}, told {self.told}")


@pytest.fixture
def loop() -> Iterator[Loop]:
    with closing(new_loop()) as made:
        yield made


def test_a_standby_is_elected_when_the_lock_is_free(loop: Loop) -> None:
    lock = Script([False, False, True])
    owner = Owner(loop, lock)
    owner.elector.start()
    owner.until("elected")
    owner.elector.stop()
    assert (owner.told, lock.released) == (["elected"], 1)


def test_who_loses_the_lock_is_told_and_tries_again(loop: Loop) -> None:
    owner = Owner(loop, Script([True, False, True], [True, False, True]))
    owner.elector.start()
    owner.until("elected", "deposed", "elected")
    owner.elector.stop()


def test_trouble_is_survived_for_as_long_as_the_lock_is_good(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    away: list[object] = [Unavailable("lease", "away")] * 5
    owner = Owner(loop, Script([*away, True], [*away, True, False], valid_s=60))
    owner.elector.start()
    owner.until("elected", "deposed")
    owner.elector.stop()
    assert caplog.text.count("cannot elect a leader") == 2, "once for each time, not once for each attempt"


def test_who_cannot_renew_in_time_is_deposed(loop: Loop) -> None:
    owner = Owner(loop, Script([True, False], [Unavailable("lease", "away")], valid_s=0.05))
    owner.elector.start()
    owner.until("elected", "deposed")
    owner.elector.stop()


def test_a_lock_that_does_not_answer_is_overdue(loop: Loop) -> None:
    """The thread hangs in a request: the loop sees by itself that the lock may be lost."""
    hanging = threading.Event()

    class Hanging(Script):
        def renew(self) -> bool:
            return hanging.wait(10)

    owner = Owner(loop, Hanging([True], valid_s=0.05))
    owner.elector.start()
    owner.until("elected")
    seen: list[bool] = []

    def look() -> None:
        seen.append(owner.elector.overdue)
        if seen[-1] or len(seen) > 1000:
            loop.stop()
        else:
            loop.call_later(0.01, look)

    look()
    loop.start()
    assert seen[-1]
    hanging.set()
    owner.elector.stop()


def test_who_resigns_gives_the_lock_back_and_stands_by(loop: Loop) -> None:
    lock = Script([True])
    owner = Owner(loop, lock)
    owner.elector.start()
    owner.until("elected")
    owner.elector.resign()
    owner.until("elected", "deposed", "elected")
    owner.elector.stop()
    assert lock.released == 2


def test_a_database_that_is_not_there_yet_is_waited_for(loop: Loop) -> None:
    prepared: list[bool] = []
    answers: list[object] = [Unavailable("state database", "refused"), Unavailable("state database", "refused"), True]
    owner = Owner(loop, Script([True]), lambda: prepared.append(Script._say(answers)))
    owner.elector.start()
    owner.until("elected")
    owner.elector.stop()
    assert prepared == [True]


def test_what_can_never_be_is_said_once(loop: Loop) -> None:
    owner = Owner(loop, Script([Rejected("PostgreSQL 13 is too old")]))
    owner.elector.start()
    owner.until("impossible: PostgreSQL 13 is too old")
    owner.elector.stop()


@pytest.mark.parametrize(
    ("url", "election", "place"),
    [
        ("sqlite:///x.sqlite", "lease", "MUNIFLOW_LEADER_ELECTION"),
        ("postgresql://h/d", "lease", "MUNIFLOW_LEADER_ELECTION"),  # not in a cluster
        ("mysql://h/d", "database", "MUNIFLOW_DATABASE_URL"),
    ],
)
def test_settings_that_do_not_fit_are_refused(url: str, election: str, place: str) -> None:
    settings = CoordinatorSettings.model_validate({"database_url": url, "leader_election": election})
    with pytest.raises(Invalid, match=place):
        lock_of(settings, SYSTEM_CLOCK)
