"""A compute child: takes a group, runs it task by task, and replies when all that it wrote is durable.

Meanwhile it computes the next group, where it has one. It holds the limits that protect its parent.
"""

import os
import resource
import signal
import socket
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

from muniflow.compute.context import Context
from muniflow.compute.device import OPENCL_DEVICE
from muniflow.compute.durable import Durability
from muniflow.compute.frames import Decoder, frame
from muniflow.compute.groups import Result, Span, encode_result, result_of
from muniflow.compute.outcome import Outcome
from muniflow.compute.process import process_together
from muniflow.compute.setup import open_context
from muniflow.compute.shared_progress import SharedProgress
from muniflow.compute.spec import ChildSpec
from muniflow.compute.step import Steps
from muniflow.errors import Unavailable
from muniflow.model.messages import Task
from muniflow.model.settlement import Retry
from muniflow.runtime.failpoints import Failpoints, Hit
from muniflow.runtime.settings import CPU

OOM_SCORE = 800
"""Short of memory, the kernel ends this process and not the one that holds the connection."""
_RECEIVE_BYTES = 256 * 1024


def child_main(connection: socket.socket, progress_descriptor: int, spec: ChildSpec, steps: Steps) -> None:
    """Serve groups until the parent closes the connection. Called in a fresh fork.

    Raises:
        Invalid: the context cannot be opened.
        Unavailable: the device gave errors. Its context may be lost for good: a new process may have better luck.
    """
    connection.setblocking(True)
    progress = SharedProgress(progress_descriptor)
    os.close(progress_descriptor)
    limit_self(spec)
    context = open_context(spec, steps, os.environ)
    before_reply = Failpoints.from_env(os.environ).at("child.before_reply")
    # An OpenCL driver may have a thread on every core; the parent's limit of the wall clock is the one that counts.
    cpu_time_s = spec.task_timeout_s * (1 if spec.device == CPU else os.cpu_count() or 1)
    runner = GroupRunner(context, progress, CpuLimit(cpu_time_s), spec.group_stop_s)
    replies = Replies(connection, Durability(context), before_reply, CpuMeter() if context.shared_cores else None)
    decoder = Decoder()
    while data := connection.recv(_RECEIVE_BYTES):
        for bodies in decoder.feed(data):
            results, spans = runner.run(bodies, replies.durability.add)
            reply = replies.add(results, spans)
            for _, outcome in results:
                if isinstance(outcome.disposition, Retry) and outcome.disposition.what == OPENCL_DEVICE:
                    reply.result()
                    raise Unavailable(OPENCL_DEVICE, "a new compute child tries it again")


@dataclass
class GroupRunner:
    """Runs the tasks of a group."""

    context: Context
    progress: SharedProgress
    cpu_limit: "CpuLimit"
    stop_s: float
    """Seconds after which no further task of a group begins."""
    _begun: int = 0
    """Tasks of the groups before."""

    def run(self, bodies: list[bytes], on_computed: Callable[[Task, Outcome], None]) -> tuple[list[Result], list[Span]]:
        """Run a group, each task within its CPU time; returns what became of those that ran, and when they did."""
        results: list[Result] = []
        spans: list[Span] = []
        tasks = [Task.from_bytes(body) for body in bodies]
        for task, outcome, span in process_together(tasks, self.context, self._begin, self.stop_s):
            on_computed(task, outcome)
            results.append((task, outcome))
            spans.append(span)
        self.progress.idle()
        self._begun += len(tasks)
        return results, spans

    def _begin(self, place: int, spent_s: float) -> None:
        self.progress.begin(self._begun + place, spent_s)
        self.cpu_limit.renew()


@dataclass(frozen=True)
class Replies:
    """Tells the parent of each group as soon as its outputs are durable, while the next group is computed."""

    connection: socket.socket
    durability: Durability
    before_reply: Hit
    cpu: "CpuMeter | None" = None
    """Only where stages share cores."""

    def add(self, results: list[Result], spans: list[Span]) -> Future[None]:
        """A group is computed; replies go out in the order of the groups. The result is done when this one is out."""
        spans = spans if self.cpu is None else self.cpu.shared(spans)

        def reply(durable: list[Result], synced_s: float) -> None:
            share_s = synced_s / len(durable)
            shared = [span._replace(seconds=span.seconds + share_s) for span in spans]
            body = frame(encode_result(result_of(durable, shared, time.time())))
            self.before_reply()
            with suppress(BrokenPipeError, ConnectionResetError):  # the parent is gone; the next recv says so
                self.connection.sendall(body)

        sent = self.durability.finish(results, reply)
        sent.add_done_callback(_end_on_error)
        return sent


@dataclass
class CpuMeter:
    """Shares what this process spends between its tasks: also on messages, replies, and syncs of the group before."""

    _before_s: float = field(default_factory=time.process_time)

    def shared(self, spans: list[Span]) -> list[Span]:
        """The tasks of a group with the CPU time since the group before, in the proportion of their wall clocks."""
        now_s = time.process_time()
        spent_s, self._before_s = now_s - self._before_s, now_s
        part = spent_s / max(sum(span.seconds for span in spans), 1e-9)
        return [span._replace(cpu_s=part * span.seconds) for span in spans]


def _end_on_error(reply: Future[None]) -> None:
    """Nobody looks at the thread of the replies, and the parent would wait: an error that nobody foresaw ends all."""
    if (error := reply.exception()) is not None:
        traceback.print_exception(error)
        os._exit(1)


def limit_self(spec: ChildSpec) -> None:
    """Memory, and who dies first when the machine has none left."""
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))
    if spec.memory_limit_bytes is not None:
        # Drivers of GPUs reserve address space by the hundred GiB; RLIMIT_DATA counts only private memory that can be
        # written, which is what images take.
        kind = resource.RLIMIT_AS if spec.device == CPU else resource.RLIMIT_DATA
        _, hard = resource.getrlimit(kind)
        soft = spec.memory_limit_bytes if hard == resource.RLIM_INFINITY else min(spec.memory_limit_bytes, hard)
        resource.setrlimit(kind, (soft, hard))


@dataclass
class CpuLimit:
    """Allows each task its CPU time: the kernel's limit counts whole seconds from the start of the process."""

    task_s: float
    _soft_s: int = 0

    def renew(self) -> None:
        """Allow so much again from now on."""
        soft_s = ceil(time.process_time() + self.task_s) + 1
        if soft_s == self._soft_s:
            return
        self._soft_s = soft_s
        _, hard_s = resource.getrlimit(resource.RLIMIT_CPU)
        limit_s = soft_s if hard_s == resource.RLIM_INFINITY else min(soft_s, hard_s)
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, hard_s))
