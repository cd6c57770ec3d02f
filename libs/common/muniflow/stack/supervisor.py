"""Keeps processes running: starts them, starts those anew that end by themselves, and ends them when asked."""

import http.client
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

from muniflow.stack.plan import ProcessPlan
from muniflow.stack.processes import identify
from muniflow.stack.state import ProcessState

FIRST_DELAY_S = 0.5
MAX_DELAY_S = 30.0
SETTLED_S = 30.0
"""A process that ran this long had started well: the next pause is the first one again."""
TICK_S = 0.1
DRAIN_S = 90.0
"""What a process gets to finish and hand back its work before it is killed."""


def restart_delay_s(quick_ends: int) -> float:
    """The pause before a start, after so many ends in a row that came too soon."""
    return float(min(FIRST_DELAY_S * 2 ** max(quick_ends - 1, 0), MAX_DELAY_S))


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

    @property
    def url(self) -> str:
        """Base of its HTTP endpoints."""
        return f"http://127.0.0.1:{self.plan.http_port}"

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
    """Told in a sentence whatever a person should know."""
    children: list[Child] = field(default_factory=list)
    clock: Callable[[], float] = time.monotonic

    def add(self, plan: ProcessPlan) -> Child:
        """Start a process and keep it running from now on."""
        child = Child(plan, self.log_dir / f"{plan.name}.log")
        self.children.append(child)
        self._start(child)
        return child

    def tick(self) -> bool:
        """See who ended, who is due for a start and who has become ready; returns whether anything changed."""
        changed = False
        for child in self.children:
            if child.process is not None and child.process.poll() is not None:
                self._ended(child, child.process.returncode)
                changed = True
            if child.process is None and self.clock() >= child.start_at_s:
                self._start(child)
                changed = True
            if child.running and not child.ready and says_ready(child.plan.http_port):
                child.ready = changed = True
        return changed

    @property
    def ready(self) -> bool:
        """Whether every process says that it is."""
        return all(child.ready for child in self.children)

    def states(self) -> tuple[ProcessState, ...]:
        """The processes that run, for `stack.json`."""
        return tuple(
            ProcessState(
                name=child.plan.name, role=child.plan.role, identity=identity, url=child.url, log=str(child.log)
            )
            for child in self.children
            if child.process is not None and (identity := identify(child.process.pid)) is not None
        )

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
                self._kill(ending)
                return
            signals.wait(TICK_S)

    def _kill(self, ending: list[Child]) -> None:
        for child in ending:
            if child.process is not None and child.running:
                self.say(f"{child.plan.name} does not end; killed. What it held goes back to its queue")
                child.process.kill()
                child.process.wait()

    def _start(self, child: Child) -> None:
        with child.log.open("ab") as log:
            child.process = subprocess.Popen(
                child.plan.command,
                env={**self.variables, **child.plan.variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that Ctrl-C reaches only us, and we drain in order
            )
        child.ready = False
        child.started_at_s = self.clock()

    def _ended(self, child: Child, code: int) -> None:
        quick = self.clock() - child.started_at_s < SETTLED_S
        child.quick_ends = child.quick_ends + 1 if quick else 1
        delay_s = restart_delay_s(child.quick_ends)
        child.process, child.ready = None, False
        child.start_at_s = self.clock() + delay_s
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        self.say(f"{child.plan.name} {how}; it starts again in {delay_s:g} s (log: {child.log})")


def says_ready(port: int, timeout_s: float = 1.0) -> bool:
    """Whether the process that serves at this port of the loopback interface says that it is ready."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


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
    """The end of a log, to show why something did not start."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 16384))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-count:])
    except FileNotFoundError:
        return ""
