"""One virtual clock and one seeded scheduler: all that happens is an event, in an order that the seed says."""

import hashlib
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random
from typing import Any

from muniflow.testing.virtual_time import START_S, NoFiles

Work = Callable[[], Any]


MAX_WRONG = 20
"""A run with more violations goes no further."""


class Killed(BaseException):
    """SIGKILL of a process in the middle of its work: no handler of the product sees it."""


@dataclass(eq=False)
class Process:
    """A process, from its start to its death. Another start is another one."""

    name: str
    busy_until_s: float = 0.0
    """It does nothing until then: frozen, or waiting for a disk."""
    alive: bool = True
    doomed: dict[str, int] = field(default_factory=dict)
    """Places at which it dies, with the number of hits that it still survives there."""
    on_death: Work = lambda: None
    on_publish: Work | None = None
    """Called once, at its next publish."""


@dataclass(eq=False, slots=True)
class Event:
    """Something that will happen."""

    work: Work | None
    process: Process | None


class Trace:
    """What happened: a digest of everything, and the lines that people read."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._digest = hashlib.blake2b(digest_size=16)

    def note(self, text: str) -> None:
        """Count what is not worth a line."""
        self._digest.update(text.encode())

    def line(self, at_s: float, who: str, text: str) -> None:
        self.lines.append(line_of(at_s, who, text))
        self._digest.update(self.lines[-1].encode())

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()


def line_of(at_s: float, who: str, text: str) -> str:
    return f"{at_s:10.3f} s  {who:<16} {text}"


class Simulation:
    """The clock (`muniflow.runtime.clock.Clock`), the dice and all that is still to happen."""

    def __init__(self, seed: object) -> None:
        self.dice = Random(f"simulation {seed}")
        self.trace = Trace()
        self.most_wrong = MAX_WRONG
        self.wrong: list[str] = []
        """Invariants that did not hold."""
        self.events = 0
        self.slow = 1.0
        """How many times as long as usual stores take."""
        self.wordy = False
        """Whether the trace has a line for each message and commit, too; its digest is the same."""
        self._passed_s = 0.0
        self._heap: list[tuple[float, int, Event]] = []
        self._count = 0
        self.current: Process | None = None

    def now_s(self) -> float:
        return START_S + self._passed_s

    def monotonic_s(self) -> float:
        return self._passed_s

    def say(self, who: str, text: str) -> None:
        self.trace.line(self._passed_s, who, text)

    def detail(self, who: str, text: str) -> None:
        """Say what only a short trace has room for."""
        self.trace.note(f"{who} {text};")
        if self.wordy:
            self.trace.lines.append(line_of(self._passed_s, who, text))

    def violated(self, text: str) -> None:
        """An invariant does not hold."""
        self.say("INVARIANT", text)
        self.wrong.append(text)

    def after(self, delay_s: float, work: Work, process: Process | None = None) -> Event:
        """Let `work` happen after a delay, if its process is alive then."""
        event = Event(work, process)
        self._push(self._passed_s + max(delay_s, 0.0), event)
        return event

    def soon(self, process: Process, work: Work) -> None:
        """Let `work` happen next in its process, after what waits there already."""
        self._push(self._passed_s, Event(work, process))

    def pause(self, seconds: float) -> None:
        """The process whose work runs now waits so long for an answer before it does anything else."""
        if self.current is not None:
            self.current.busy_until_s = max(self.current.busy_until_s, self._passed_s + seconds)

    def reach(self, place: str, process: Process | None = None) -> None:
        """A process comes to a named place: where it is doomed to die there, it does."""
        process = process or self.current
        if process is None or place not in process.doomed:
            return
        process.doomed[place] -= 1
        if process.doomed[place] <= 0:
            self.say(process.name, f"is killed at {place}")
            raise Killed

    def kill(self, process: Process) -> None:
        """End a process now; nothing that it still had to do happens."""
        if process.alive:
            process.alive = False
            process.on_death()

    def run(self, ended: Callable[[], bool], limit_s: float) -> bool:
        """Let things happen until `ended()`; returns false where that was not so at `limit_s`."""
        while not ended():
            if not self._heap or self._heap[0][0] > limit_s or len(self.wrong) > self.most_wrong:
                return False
            due_s, _, event = heappop(self._heap)
            self._passed_s = max(self._passed_s, due_s)
            self._happen(event)
        return True

    def _push(self, due_s: float, event: Event) -> None:
        self._count += 1
        heappush(self._heap, (due_s, self._count, event))

    def _happen(self, event: Event) -> None:
        work, process = event.work, event.process
        if work is None or (process is not None and not process.alive):
            return
        if process is not None and process.busy_until_s > self._passed_s:
            self._push(process.busy_until_s, event)
            return
        self.events += 1
        self.trace.note(f"{self._passed_s:.6f}{process.name if process else ''};")
        self.current = process
        try:
            work()
        except Killed:
            if process is not None:
                self.kill(process)
        except Exception as error:  # noqa: BLE001 - whatever the product raises out of its loop is a fault of it
            frames = traceback.extract_tb(error.__traceback__)
            where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames[-4:]))
            self.violated(
                f"{process.name if process else 'the simulation'} raised {type(error).__name__}: {error} ({where})"
            )
        finally:
            self.current = None


class SimLoop(NoFiles):
    """The `Loop` of one process. It watches no files."""

    def __init__(self, sim: Simulation, process: Process) -> None:
        self._sim = sim
        self._process = process

    def call_later(self, delay: float, callback: Work) -> Any:
        """Timers come a little late, as they do."""
        late_s = self._sim.dice.random() * 0.001
        return self._sim.after(delay + late_s, callback, self._process)

    def remove_timeout(self, timeout_handle: Any) -> None:
        timeout_handle.work = None

    def add_callback_threadsafe(self, callback: Work) -> None:
        self._sim.soon(self._process, callback)

    def start(self) -> None:
        """The simulation runs it."""

    def stop(self) -> None:
        """The process ends by itself."""
        self._sim.say(self._process.name, "ended")
        self._sim.soon(self._process, lambda: self._sim.kill(self._process))

    def close(self) -> None:
        pass


class SimExecutor:
    """An `Executor`: each piece of work happens at one moment, some time after it was submitted."""

    def __init__(self, sim: Simulation, process: Process) -> None:
        self._sim = sim
        self._process = process
        self.stopped = False

    def submit(self, work: Work, on_done: Callable[[Any], None]) -> None:
        from muniflow.testing.inline import outcome

        def run() -> None:
            if self.stopped:
                return
            done = outcome(work)
            self._sim.after(self._some_s(), lambda: None if self.stopped else on_done(done), self._process)

        if not self.stopped:
            self._sim.after(self._some_s(), run, self._process)

    def stop(self) -> None:
        self.stopped = True

    def _some_s(self) -> float:
        return self._sim.dice.expovariate(1 / 0.01) * self._sim.slow
