"""The parent's side of the compute children, on the loop: hands out groups, takes results, replaces crashed children.

Nothing here blocks and nothing here imports numpy or OpenCV. A child computes one group; the next one waits in its
socket. When a child crashes, its `SharedProgress` says which task it worked on: `classify_exit` decides about that one,
and all other tasks of the child are handed out again.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from muniflow.compute.child_handle import ChildHandle
from muniflow.compute.exits import classify_exit, describe, too_slow
from muniflow.compute.forkclient import ForkClient, ForkEvents
from muniflow.compute.frames import FrameError
from muniflow.compute.groups import GroupResult, decode_result
from muniflow.compute.pending import MAX_ASSIGNMENTS, Assignment, PendingGroup, PendingTask, failed_result
from muniflow.compute.spec import ChildSpec
from muniflow.compute.types import PoolEvents
from muniflow.errors import Unavailable
from muniflow.model.settlement import settle
from muniflow.runtime.backoff import doubling_s
from muniflow.runtime.loop import Loop

MAX_FAULTLESS_CRASHES = 3
"""Crashes before or after a group's tasks, when no task can be blamed; then its tasks are retried later."""
RESTART_FIRST_S = 0.1
RESTART_MAX_S = 10.0
WATCH_S = 0.25
"""How often children are held against the wall clock."""


@dataclass
class ComputePool:
    """`children` compute children behind one fork server."""

    loop: Loop
    spec: ChildSpec
    children: int
    events: PoolEvents = field(default_factory=PoolEvents)
    python_path: tuple[str, ...] = ()
    """Further places where the fork server finds modules, for tests."""
    device: str = field(default="", init=False)
    """What the children compute on, for people; known from `on_ready` on."""
    _server: ForkClient = field(init=False)
    _asked: deque[ChildHandle] = field(default_factory=deque, init=False)
    _handles: dict[int, ChildHandle] = field(default_factory=dict, init=False)
    _waiting: deque[Assignment] = field(default_factory=deque, init=False)
    _failures: int = field(default=0, init=False)
    _was_ready: bool = field(default=False, init=False)
    _serving: bool = field(default=False, init=False)
    _stopping: bool = field(default=False, init=False)

    def start(self) -> None:
        """Start the fork server and the children; `on_ready` follows."""
        self._start_server()
        self.loop.call_later(WATCH_S, self._watch)

    @property
    def idle(self) -> int:
        """How many groups could start now."""
        return self._free(1)

    @property
    def room(self) -> int:
        """How many early groups children could take now."""
        return self._free(MAX_ASSIGNMENTS)

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the children that run now."""
        return tuple(self._handles)

    def submit(
        self, tasks: Sequence[PendingTask], on_done: Callable[[GroupResult], None], *, early: bool = False
    ) -> None:
        """Run a group; `on_done` is called once, whatever happens to children meanwhile. It may give tasks back.

        `early`: a child may have it behind another one, which costs nothing when both are short.
        """
        self._waiting.append(Assignment(list(tasks), PendingGroup(len(tasks), on_done), early))
        self._hand_out()

    def stop(self, on_stopped: Callable[[], None]) -> None:
        """End all children now and forget their groups."""
        self._stopping = True
        self._drop_peers()
        self._server.stop(on_stopped)

    # The fork server

    def _start_server(self) -> None:
        if self._stopping:
            return
        events = ForkEvents(self._on_server, self._on_failed, self._on_forked, self._on_exited, self._on_lost)
        self._server = ForkClient(self.loop, self.spec, events, self.python_path)
        self._server.start()

    def _on_server(self, _operations: tuple[str, ...], device: str) -> None:
        self.device = device
        self._serving = True
        for _ in range(self.children):
            self._fork()

    def _on_failed(self, reason: str) -> None:
        if not self._was_ready:
            self._stopping = True
            self.events.on_failed(reason)

    def _on_lost(self) -> None:
        self._serving = False
        assignments = [assignment for handle in self._handles.values() for assignment in handle.assignments]
        self._drop_peers()
        if self._stopping:
            return
        self.events.on_death("the fork server ended")
        for assignment in assignments:
            self._again(assignment, "the fork server ended")
        self._failures += 1
        self.loop.call_later(self._pause_s(), self._start_server)

    def _drop_peers(self) -> None:
        for handle in (*self._handles.values(), *self._asked):
            handle.close()
        self._handles.clear()
        self._asked.clear()

    # Children

    def _fork(self) -> None:
        if self._stopping or not self._serving:
            return
        handle = ChildHandle(self.loop, on_frame=self._on_frame, on_broken=self._on_broken)
        self._asked.append(handle)
        handle.give_to(self._server.fork)

    def _on_forked(self, pid: int) -> None:
        handle = self._asked.popleft()
        handle.pid = pid
        self._handles[pid] = handle
        if not self._was_ready:
            self._was_ready = True
            self.events.on_ready()
        self._go_on()

    def _on_exited(self, pid: int, status: int) -> None:
        handle = self._handles.pop(pid, None)
        if handle is None:
            return
        handle.read_rest()
        at_work = handle.at_work()
        handle.close()
        # With nobody at fault, perhaps children cannot live here at all: so not at once.
        self._failures = 0 if at_work else self._failures + 1
        if handle.assignments:
            self.events.on_death(handle.kill_reason or describe(status))
        for assignment in reversed(handle.assignments):
            if at_work is None:
                self._again(assignment, describe(status))
            elif assignment is at_work.assignment:
                self._judge(assignment, at_work.place, status, handle.kill_reason)
            else:
                self._waiting.appendleft(assignment)
        self._hand_out()
        self.loop.call_later(self._pause_s(), self._fork)

    def _pause_s(self) -> float:
        return doubling_s(self._failures, RESTART_FIRST_S, RESTART_MAX_S) if self._failures else 0.0

    def _on_broken(self, handle: ChildHandle) -> None:
        if handle.pid is not None:
            self._server.kill(handle.pid)

    def _watch(self) -> None:
        if self._stopping:
            return
        limit_s = self.spec.task_timeout_s
        for pid, handle in self._handles.items():
            at_work = handle.at_work()
            if at_work is not None and at_work.seconds > limit_s and handle.kill_reason is None:
                handle.kill_reason = too_slow(limit_s)
                self._server.kill(pid)
            elif handle.assignments and at_work is None and handle.silent_s() > limit_s:
                # Stuck between tasks: killed, and nobody's fault.
                self._server.kill(pid)
        self.loop.call_later(min(WATCH_S, limit_s / 4), self._watch)

    # Groups

    def _free(self, assignments: int) -> int:
        """How many more groups fit where each child may have so many."""
        free = sum(max(assignments - len(handle.assignments), 0) for handle in self._handles.values())
        return max(free - len(self._waiting), 0)

    def _hand_out(self) -> None:
        for held in range(MAX_ASSIGNMENTS):
            for handle in self._handles.values():
                if not self._waiting:
                    return
                # A child that is being started has no group yet.
                if len(handle.assignments) == held and (held == 0 or (self._waiting[0].early and not self._asked)):
                    handle.send(self._waiting.popleft())

    def _on_frame(self, handle: ChildHandle, parts: list[bytes]) -> None:
        if not handle.assignments:
            self._on_broken(handle)
            return
        assignment, result = handle.assignments[0], decode_result(parts)
        done = len(result.tasks)
        if not 0 < done <= len(assignment.tasks):
            raise FrameError(f"{done} results for {len(assignment.tasks)} tasks")
        tasks = [pending.task for pending in assignment.tasks]
        result.sources, result.unbegun = tasks[:done], tasks[done:]
        handle.assignments.popleft()
        self._failures = 0
        assignment.group.add(result, len(assignment.tasks))
        self._go_on()

    def _go_on(self) -> None:
        self._hand_out()
        if self.room:
            self.events.on_idle()

    def _judge(self, assignment: Assignment, place: int, status: int, kill_reason: str | None) -> None:
        culprit = assignment.tasks.pop(place)
        culprit.strikes += 1
        disposition = classify_exit(status, kill_reason, culprit.strikes, self.spec.task_timeout_s)
        if assignment.tasks:
            self._waiting.appendleft(assignment)
        if disposition is None:
            self._waiting.append(Assignment([culprit], assignment.group))
        else:
            assignment.group.add(failed_result([(culprit.task, disposition)]), 1)

    def _again(self, assignment: Assignment, cause: str) -> None:
        assignment.crashes += 1
        if assignment.crashes < MAX_FAULTLESS_CRASHES:
            self._waiting.appendleft(assignment)
            return
        error = Unavailable("compute child", cause)
        failed = [(pending.task, settle(error, pending.task.attempt)) for pending in assignment.tasks]
        assignment.group.add(failed_result(failed), len(assignment.tasks))
