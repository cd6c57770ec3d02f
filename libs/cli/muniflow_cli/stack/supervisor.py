"""Keeps processes running: starts them, restarts those that end by themselves, stops them on request."""

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from muniflow.runtime.backoff import doubling_s
from muniflow_cli.stack.durable import sync_below
from muniflow_cli.stack.launch import answers, launch
from muniflow_cli.stack.plan import ProcessPlan
from muniflow_cli.stack.ports import taken_ports
from muniflow_cli.stack.processes import identify, kill_members, kill_session
from muniflow_cli.stack.state import ProcessState

FIRST_DELAY_S = 0.5
MAX_DELAY_S = 30.0
SETTLED_S = 30.0
"""A process that ran this long had started well: the next pause is the first one again."""
TICK_S = 0.1
DRAIN_S = 90.0
"""Time for a process to finish and hand back its work before it is killed."""
SILENT_S = 5.0
"""A process that does not answer for so long hangs."""


def restart_delay_s(quick_ends: int) -> float:
    """The pause before a start, after so many ends in a row that came too soon."""
    return doubling_s(quick_ends, FIRST_DELAY_S, MAX_DELAY_S)


class Signals:
    """Wakes a wait when a signal comes: SIGINT and SIGTERM ask to stop, SIGCHLD says that a process ended."""

    def __init__(self) -> None:
        self.asked_to_stop = 0
        """How many times; the second one is impatient."""
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    @contextmanager
    def installed(self) -> Iterator["Signals"]:
        """Take the signals of this process, and give them back at the end; main thread only."""
        previous_wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        stops = (signal.SIGINT, signal.SIGTERM)
        previous = {number: signal.signal(number, self._stop) for number in stops}
        previous[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(previous_wakeup)
            self._reader.close()
            self._writer.close()

    def wait(self, timeout_s: float) -> None:
        """Return at the next signal, or after `timeout_s`."""
        if select.select([self._reader], [], [], timeout_s)[0]:
            self._reader.recv(4096)

    def _stop(self, *_: object) -> None:
        self.asked_to_stop += 1


@dataclass
class Child:
    """One process that is kept running."""

    plan: ProcessPlan
    log: Path
    process: subprocess.Popen[bytes] | None = None
    ready: bool = False
    quick_ends: int = 0
    started_at_s: float = 0.0
    start_at_s: float = 0.0
    """Monotonic time of the next start, while it does not run."""
    starts: int = 0
    ended_session: int | None = None
    """The session of the process that ended, until nothing of it is left."""

    @property
    def url(self) -> str | None:
        """Base of its HTTP endpoints; `None` for a program that is not ours."""
        return f"http://127.0.0.1:{self.plan.port}" if self.plan.speaks == "http" else None

    @property
    def restarts(self) -> int:
        """How many times it was started again."""
        return max(self.starts - 1, 0)

    @property
    def running(self) -> bool:
        """Whether it runs now."""
        return self.process is not None and self.process.poll() is None


@dataclass
class Supervisor:
    """Runs processes of one environment, each in its own session with its own log file."""

    variables: Mapping[str, str]
    """The environment of every process."""
    log_dir: Path
    say: Callable[[str], None]
    """Called with one sentence for each event that a person should know."""
    children: list[Child] = field(default_factory=list)
    clock: Callable[[], float] = time.monotonic

    def add(self, plan: ProcessPlan) -> Child:
        """Start a process, as soon as the one that it needs is ready, and keep it running from now on."""
        child = Child(plan, self.log_dir / f"{plan.name}.log")
        self.children.append(child)
        if self._may_start(child):
            self._start(child)
        return child

    def tick(self) -> bool:
        """Check which processes ended, are due for a start or became ready; returns whether anything changed."""
        changed = False
        for child in self.children:
            if child.process is not None and child.process.poll() is not None:
                self._ended(child, child.process)
                changed = True
            if child.process is None and self._may_start(child):
                self._start(child)
                changed = True
            if child.running and not child.ready and answers(child.plan):
                self._became_ready(child)
                changed = True
        return changed

    @property
    def ready(self) -> bool:
        """Whether every process says that it is."""
        return all(child.ready for child in self.children)

    def states(self) -> tuple[ProcessState, ...]:
        """The processes that run, for `stack.json`."""
        return tuple(
            ProcessState(
                name=child.plan.name,
                role=child.plan.role,
                identity=identity,
                url=child.url,
                log=str(child.log),
                restarts=child.restarts,
            )
            for child in self.children
            if child.process is not None and (identity := identify(child.process.pid)) is not None
        )

    def hangs(self, role: str) -> bool:
        """Whether a process of a role was ready and does not answer any more: asked to end, it would not do it."""
        ready = [child for child in self.children if child.plan.role == role and child.ready and child.running]
        return any(not answers(child.plan, SILENT_S) for child in ready)

    def end(self, role: str, signals: Signals, drain_s: float = DRAIN_S) -> None:
        """Ask the processes of a role to finish and wait for them; kill what outlasts `drain_s` or an impatient user.

        They are not started again.
        """
        ending = [child for child in self.children if child.plan.role == role]
        self.children = [child for child in self.children if child.plan.role != role]
        for child in ending:
            if child.process is not None and child.running:
                child.process.terminate()
        deadline_s = self.clock() + drain_s
        asked_before = signals.asked_to_stop
        while any(child.running for child in ending):
            if self.clock() >= deadline_s or signals.asked_to_stop > asked_before:
                break
            signals.wait(TICK_S)
        for child in ending:
            self._finish(child)

    def _finish(self, child: Child) -> None:
        """Leave nothing of it running."""
        if child.process is not None and child.running:
            held = ". What it held goes back to its queue" if child.plan.role == "worker" else ""
            self.say(f"{child.plan.name} does not end; killed{held}")
            child.process.kill()
            child.process.wait()
        session = child.ended_session if child.process is None else child.process.pid
        if session is not None:
            kill_session(session)

    def _may_start(self, child: Child) -> bool:
        """Whether it is time, nothing is left of the one that ended, and what it needs is there."""
        if self.clock() < child.start_at_s:
            return False
        if child.ended_session is not None and kill_members(child.ended_session):
            return False
        child.ended_session = None
        if child.plan.needs and not any(each.ready for each in self.children if each.plan.name == child.plan.needs):
            return False
        taken = taken_ports(child.plan.own_ports)
        if taken:
            child.quick_ends += 1
            to_do = f"port {taken[0]} is taken by another program; stop that program"
            self.say(f"{child.plan.name} cannot start: {to_do}. {self._put_off(child).capitalize()}")
        return not taken

    def _start(self, child: Child) -> None:
        child.process = launch(child.plan, self.variables, child.log)
        child.ready = False
        child.starts += 1
        child.started_at_s = self.clock()

    def _became_ready(self, child: Child) -> None:
        child.ready = True
        if child.plan.role == "broker" and child.plan.folder is not None:
            try:
                sync_below(child.plan.folder)
            except OSError as error:
                self.say(f"a power failure now may harm the broker: {error}")
        if child.restarts:
            took_s = self.clock() - child.started_at_s
            self.say(f"{child.plan.name} is ready again after {took_s:.1f} s; restarts: {child.restarts}")

    def _ended(self, child: Child, process: subprocess.Popen[bytes]) -> None:
        quick = self.clock() - child.started_at_s < SETTLED_S
        child.quick_ends = child.quick_ends + 1 if quick else 1
        child.process, child.ready, child.ended_session = None, False, process.pid
        code = process.returncode
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        self.say(f"{child.plan.name} {how}; {self._put_off(child)} (log: {child.log})")

    def _put_off(self, child: Child) -> str:
        """Set the time of its next start; returns that in words."""
        delay_s = restart_delay_s(child.quick_ends)
        child.start_at_s = self.clock() + delay_s
        return f"it starts again in {delay_s:g} s"


def can_listen(bind: str) -> bool:
    """Whether nobody listens at `host:port` yet."""
    host, _, port = bind.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            return False
    return True


def last_lines(log: Path, count: int = 8) -> str:
    """The last lines of a log, to show why a process did not start."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 16384))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-count:])
    except FileNotFoundError:
        return ""
